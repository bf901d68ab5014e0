#include "kernels/elementwise.hpp"

#include <algorithm>
#include <cmath>

#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

class Elementwise : public testing::TestWithParam<std::tuple<RowCase, DType>> {
protected:
    Tensor tensor(const Values& values, DType dtype) { return tensor_of(ctx_, values, shape_, dtype); }

    RowCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    Shape shape_{case_.rows, case_.n};
    Context ctx_{on_test_device(2)};
    Values a_ = rounded_to(dtype_, random_values(case_.size(), 1));
    Values b_ = rounded_to(dtype_, random_values(case_.size(), 2));
};

/// What one f32 operation and one rounding to dtype give: exact, so no tolerance.
Values exactly(DType dtype, const Values& values) {
    return rounded_to(dtype, rounded_to(DType::f32, values));
}

TEST_P(Elementwise, AddRoundsTheSumOnceAndMayOverwriteEither) {
    Tensor a = tensor(a_, dtype_), b = tensor(b_, dtype_), out = ctx_.empty(shape_, dtype_);

    add(ctx_, a, b, out);
    add(ctx_, a, b, a);

    EXPECT_TRUE(near_all(out, exactly(dtype_, sum_of(a_, b_)), {0, 0}));
    EXPECT_TRUE(same_bits(a, out));
}

TEST_P(Elementwise, AccumulateAddsToF32) {
    const Values before = rounded_to(DType::f32, random_values(case_.size(), 3));
    Tensor sum = tensor(before, DType::f32);

    accumulate(ctx_, tensor(a_, dtype_), sum);

    EXPECT_TRUE(near_all(sum, exactly(DType::f32, sum_of(before, a_)), {0, 0}));
}

TEST_P(Elementwise, ScaleMultipliesInPlace) {
    Tensor x = tensor(a_, dtype_);

    scale(ctx_, 0.375f, x);

    Values expected = a_;
    for (double& e : expected) e *= 0.375;
    EXPECT_TRUE(near_all(x, exactly(dtype_, expected), {0, 0}));
}

TEST_P(Elementwise, CopyTakesEveryElementAndNoOtherDtype) {
    const Tensor x = tensor(a_, dtype_);
    Tensor out = ctx_.empty(shape_, dtype_),
           other = ctx_.empty(shape_, dtype_ == DType::f32 ? DType::bf16 : DType::f32);

    copy(ctx_, x, out);

    EXPECT_TRUE(same_bits(out, x));
    EXPECT_THROW(copy(ctx_, x, other), InternalError);
}

TEST_P(Elementwise, ConvertRoundsToNearestEvenAndWidensExactly) {
    for (const DType to : float_types) {
        Tensor out = ctx_.empty(shape_, to);

        convert(ctx_, tensor(a_, dtype_), out);

        EXPECT_TRUE(near_all(out, rounded_to(to, a_), {0, 0}));
    }
}

TEST_P(Elementwise, FillSetsEveryElement) {
    Tensor x = tensor(a_, dtype_);

    fill(ctx_, -2.5f, x);

    EXPECT_TRUE(near_all(x, Values(case_.size(), -2.5), {0, 0}));
}

TEST_P(Elementwise, ClearUnscoredLeavesTheRowsThatCount) {
    Values labels, expected = a_;
    for (int64_t row = 0; row < case_.rows; ++row) {
        labels.push_back(row % 3 == 1 ? -1 : static_cast<double>(row % 2));
        if (labels.back() < 0) std::fill_n(expected.begin() + row * case_.n, case_.n, 0.0);
    }
    Tensor x = tensor(a_, dtype_);

    clear_unscored(ctx_, tensor_of(ctx_, labels, {case_.rows}, DType::i32), x);

    EXPECT_TRUE(near_all(x, expected, {0, 0}));
}

TEST(ClearUnscored, TakesOneElementARowAndValuesThatAreNoNumbers) {
    Context ctx(on_test_device());
    Tensor x = tensor_of(ctx, {std::nan(""), 2, std::nan("")}, {3}, DType::f32);

    clear_unscored(ctx, tensor_of(ctx, {-1, 0, -5}, {3}, DType::i32), x);

    EXPECT_TRUE(near_all(x, {0, 2, 0}, {0, 0}));
}

INSTANTIATE_TEST_SUITE_P(Cases, Elementwise,
                         testing::Combine(testing::ValuesIn(row_cases), testing::ValuesIn(float_types)),
                         parameter_name);

TEST(SquareSum, IsADoubleSumAndTheSameForAnyThreadCount) {
    const int64_t n = 300'007;
    const Values x = rounded_to(DType::f32, random_values(n, 1));
    const auto sum = [&](int threads) {
        Context ctx(on_test_device(threads));
        return square_sum(ctx, tensor_of(ctx, x, {n}, DType::f32), {ctx, {{0, n}}});
    };

    const double alone = sum(1);

    EXPECT_NEAR(alone, inner_product(x, x), 1e-12 * alone);
    EXPECT_EQ(sum(2), alone);
    EXPECT_EQ(sum(5), alone);
}

TEST(SquareSum, DoesNotOverflowWhereF32Would) {
    Context ctx(on_test_device());

    EXPECT_NEAR(square_sum(ctx, tensor_of(ctx, {1e30, 1e30}, {2}, DType::f32), {ctx, {{0, 2}}}), 2e60, 1e54);
    EXPECT_EQ(square_sum(ctx, ctx.zeros({0}, DType::f32), {ctx, {}}), 0.0);
}

TEST(SquareSum, TakesMoreRunsThanABlockHasThreads) {
    std::vector<FlatRun> runs;
    for (int64_t i = 0; i < 2500; ++i) runs.push_back({5 * i, 3});
    Context ctx(on_test_device(2));
    Tensor x = ctx.empty({5 * 2500}, DType::f32);
    fill(ctx, 2, x);

    EXPECT_EQ(square_sum(ctx, x, {ctx, runs}), 4.0 * 3 * 2500);
}

TEST(SquareSum, TakesTheElementsOfItsRunsAlone) {
    const std::vector<FlatRun> runs{{3, 40'001}, {40'004, 1}, {50'016, 70'000}};
    Context ctx(on_test_device(2));
    Values x = rounded_to(DType::f32, random_values(120'032, 1)), counted;
    for (const FlatRun& run : runs)
        counted.insert(counted.end(), x.begin() + run.begin, x.begin() + run.begin + run.size);

    const double sum = square_sum(ctx, tensor_of(ctx, x, {std::ssize(x)}, DType::f32), {ctx, runs});

    EXPECT_NEAR(sum, inner_product(counted, counted), 1e-12 * sum);
}

}  // namespace
}  // namespace espalier::test
