#include "kernels/norm.hpp"

#include "kernels/elementwise.hpp"
#include "kernels/reference/norm.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

struct Variant {
    NormOptions options;
    bool has_bias;
};
constexpr std::array variants{
    Variant{{NormKind::rms, Gain::weight, 1e-5f}, false},
    Variant{{NormKind::rms, Gain::one_plus_weight, 1e-6f}, true},
    Variant{{NormKind::layer, Gain::weight, 1e-5f}, true},
    Variant{{NormKind::layer, Gain::one_plus_weight, 1e-5f}, false},
};

/// Rounded inputs of one case; rows have a mean, so that taking it away matters.
struct Inputs {
    Values x, weight, bias, dy, dx, dweight, dbias;

    Inputs(RowCase c, DType dtype, bool has_bias)
        : x(rounded_to(dtype, sum_of(random_values(c.size(), 1, 2.0), Values(c.size(), 0.5)))),
          weight(rounded_to(dtype, random_values(c.n, 2))),
          bias(has_bias ? rounded_to(dtype, random_values(c.n, 3)) : Values{}),
          dy(rounded_to(dtype, random_values(c.size(), 4))),
          dx(rounded_to(dtype, random_values(c.size(), 5))),
          dweight(rounded_to(DType::f32, random_values(c.n, 6))),
          dbias(rounded_to(DType::f32, random_values(c.n, 7))) {}
};

class Norm : public testing::TestWithParam<std::tuple<RowCase, DType>> {
protected:
    RowCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    Shape shape_{case_.rows, case_.n};
    Context ctx_{on_test_device(2)};
};

TEST_P(Norm, MatchesReferenceAndKeepsItsStatistics) {
    for (const auto& [options, has_bias] : variants) {
        const Inputs in(case_, dtype_, has_bias);
        Tensor y = ctx_.empty(shape_, dtype_), stats = ctx_.empty({case_.rows, 2}, DType::f32);

        norm(ctx_, tensor_of(ctx_, in.x, shape_, dtype_), tensor_of(ctx_, in.weight, {case_.n}, dtype_),
             has_bias ? tensor_of(ctx_, in.bias, {case_.n}, dtype_) : Tensor(), options, y, stats);

        Values expected_stats;
        for (int64_t i = 0; i < case_.rows; ++i) {
            const auto s = reference::norm_stats(&in.x[i * case_.n], case_.n, options);
            expected_stats.insert(expected_stats.end(), {s.mean, s.rstd});
        }
        EXPECT_TRUE(near_all(y, reference::norm(in.x, in.weight, in.bias, options),
                             tolerance(test_device(), dtype_)));
        EXPECT_TRUE(near_all(stats, expected_stats, tolerance(test_device(), DType::f32)));
    }
}

TEST_P(Norm, OfASumIsThatOfTheSumRounded) {
    for (const auto& [options, has_bias] : variants) {
        const Inputs in(case_, dtype_, has_bias);
        const Tensor x = tensor_of(ctx_, in.x, shape_, dtype_), r = tensor_of(ctx_, in.dy, shape_, dtype_),
                     weight = tensor_of(ctx_, in.weight, {case_.n}, dtype_),
                     bias = has_bias ? tensor_of(ctx_, in.bias, {case_.n}, dtype_) : Tensor();
        Tensor sum = ctx_.empty(shape_, dtype_), y = ctx_.empty(shape_, dtype_),
               stats = ctx_.empty({case_.rows, 2}, DType::f32),
               in_place = tensor_of(ctx_, in.dy, shape_, dtype_), y_beside = ctx_.empty(shape_, dtype_);

        add_norm(ctx_, x, r, weight, bias, options, sum, y, stats);
        add_norm(ctx_, x, in_place, weight, bias, options, in_place, y_beside, stats);

        Tensor expected = ctx_.empty(shape_, dtype_), expected_y = ctx_.empty(shape_, dtype_),
               expected_stats = ctx_.empty(stats.shape(), DType::f32);
        add(ctx_, x, r, expected);
        norm(ctx_, expected, weight, bias, options, expected_y, expected_stats);
        EXPECT_TRUE(same_bits(sum, expected));
        EXPECT_TRUE(same_bits(in_place, expected));
        EXPECT_TRUE(same_bits(y, expected_y));
        EXPECT_TRUE(same_bits(y_beside, expected_y));
        EXPECT_TRUE(same_bits(stats, expected_stats));
    }
}

TEST_P(Norm, BackwardAddsWhatReferenceSays) {
    for (const auto& [options, has_bias] : variants) {
        const Inputs in(case_, dtype_, has_bias);
        const Tensor x = tensor_of(ctx_, in.x, shape_, dtype_),
                     weight = tensor_of(ctx_, in.weight, {case_.n}, dtype_);
        Tensor y = ctx_.empty(shape_, dtype_), stats = ctx_.empty({case_.rows, 2}, DType::f32);
        norm(ctx_, x, weight, Tensor(), options, y, stats);
        Tensor dx = tensor_of(ctx_, in.dx, shape_, dtype_);
        Tensor dweight = tensor_of(ctx_, in.dweight, {case_.n}, DType::f32);
        Tensor dbias = has_bias ? tensor_of(ctx_, in.dbias, {case_.n}, DType::f32) : Tensor();

        norm_backward(ctx_, tensor_of(ctx_, in.dy, shape_, dtype_), x, weight, stats, options, dx, dweight,
                      dbias);

        const auto expected = reference::norm_backward(in.dy, in.x, in.weight, options);
        const auto f32 = tolerance(test_device(), DType::f32);
        EXPECT_TRUE(near_all(dx, sum_of(in.dx, expected.dx), tolerance(test_device(), dtype_)));
        EXPECT_TRUE(near_all(dweight, sum_of(in.dweight, expected.dweight), f32));
        if (has_bias) {
            EXPECT_TRUE(near_all(dbias, sum_of(in.dbias, expected.dbias), f32));
        }
    }
}

class NormReference : public Norm {};

TEST_P(NormReference, GradientsAreFiniteDifferences) {
    for (const Variant& variant : variants) {
        const NormOptions& options = variant.options;
        const Inputs in(case_, DType::f64, true);

        const auto gradients = reference::norm_backward(in.dy, in.x, in.weight, options);

        const auto loss = [&](const Values& x, const Values& weight, const Values& bias) {
            return inner_product(in.dy, reference::norm(x, weight, bias, options));
        };
        const auto of_x = [&](const Values& x) { return loss(x, in.weight, in.bias); };
        const auto of_weight = [&](const Values& weight) { return loss(in.x, weight, in.bias); };
        const auto of_bias = [&](const Values& bias) { return loss(in.x, in.weight, bias); };
        EXPECT_TRUE(near_all(gradients.dx, numeric_gradient(of_x, in.x), numeric_tolerance));
        EXPECT_TRUE(near_all(gradients.dweight, numeric_gradient(of_weight, in.weight), numeric_tolerance));
        EXPECT_TRUE(near_all(gradients.dbias, numeric_gradient(of_bias, in.bias), numeric_tolerance));
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, Norm,
                         testing::Combine(testing::ValuesIn(row_cases), testing::ValuesIn(float_types)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, NormReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, row_cases)),
                                          testing::Values(DType::f32)),
                         parameter_name);

TEST(NormInPlace, OverwritesItsInputWithTheSameResult) {
    Context ctx(on_test_device(2));
    const Shape shape{5, 37};
    Tensor x = tensor_of(ctx, random_values(5 * 37, 1), shape, DType::f32);
    const Tensor weight = tensor_of(ctx, random_values(37, 2), {37}, DType::f32);
    Tensor apart = ctx.empty(shape, DType::f32), stats = ctx.empty({5, 2}, DType::f32);
    norm(ctx, x, weight, Tensor(), {}, apart, stats);

    norm(ctx, x, weight, Tensor(), {}, x, stats);

    EXPECT_TRUE(same_bits(x, apart));
}

TEST(NormBackward, SumsWeightGradientsAlikeForAnyThreadCount) {
    const int64_t rows = 333, n = 301;
    const auto weight_gradient = [&](int threads) {
        Context ctx(on_test_device(threads));
        const Tensor x = tensor_of(ctx, random_values(rows * n, 1), {rows, n}, DType::f32);
        const Tensor dy = tensor_of(ctx, random_values(rows * n, 2), {rows, n}, DType::f32);
        const Tensor weight = tensor_of(ctx, random_values(n, 3), {n}, DType::f32);
        const Tensor stats = tensor_of(ctx, random_values(rows * 2, 4), {rows, 2}, DType::f32);
        Tensor dx = ctx.zeros({rows, n}, DType::f32), dweight = ctx.zeros({n}, DType::f32), none;
        norm_backward(ctx, dy, x, weight, stats, {}, dx, dweight, none);
        return dweight;
    };

    const Tensor alone = weight_gradient(1);

    EXPECT_TRUE(same_bits(weight_gradient(2), alone));
    EXPECT_TRUE(same_bits(weight_gradient(5), alone));
}

TEST(NormChecks, RefuseAWeightOfAnotherWidth) {
    Context ctx(on_test_device());
    Tensor x = ctx.zeros({2, 4}, DType::f32), stats = ctx.zeros({2, 2}, DType::f32);

    EXPECT_THROW(norm(ctx, x, ctx.zeros({3}, DType::f32), Tensor(), {}, x, stats), InternalError);
}

}  // namespace
}  // namespace espalier::test
