#include "kernels/statistics.hpp"

#include <cmath>
#include <limits>

#include "kernels/reference/statistics.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

/// Sums in f32 over 16 rows or 1024 elements at most, then in double: 5e-6 of the sum of magnitudes. A mean
/// cancels, so that rms is its scale.
constexpr Tolerance statistics_tolerance{5e-6, 5e-6};

class Moments : public testing::TestWithParam<std::tuple<MomentsCase, DType>> {};

TEST_P(Moments, MatchReferenceForAnyThreadCount) {
    const auto [c, dtype] = GetParam();
    const Values x = rounded_to(dtype, random_values(c.size(), 1));
    const Values expected = reference::moments(x, c.n, c.samples, c.columns);
    Tensor first;
    for (const int threads : {1, 2, 5}) {
        Context ctx(on_test_device(threads));
        Tensor out = ctx.empty({c.samples, 3, c.columns.size()}, DType::f64);

        moments(ctx, tensor_of(ctx, x, {c.samples * c.seq, c.n}, dtype), c.samples, c.columns, out);

        EXPECT_TRUE(near_all(out, expected, statistics_tolerance));
        if (first) {
            EXPECT_TRUE(same_bits(out, first));
        }
        first = out;
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, Moments,
                         testing::Combine(testing::ValuesIn(moments_cases), testing::ValuesIn(float_types)),
                         parameter_name);

/// In double, but for what a compiler makes of a product and a sum.
constexpr Tolerance sums_of_the_same{1e-12, 1e-12};

class MomentsOfActivations : public testing::TestWithParam<DType> {};

TEST_P(MomentsOfActivations, AreThoseOfWhatTheActivationMakes) {
    Context ctx(on_test_device(2));
    for (const Activation activation :
         {Activation::swiglu, Activation::geglu, Activation::relu2, Activation::gelu, Activation::silu}) {
        for (const int64_t seq : {1, 5, 150}) {
            for (const int64_t n : {1, 70, 131}) {
                const int64_t samples = 2, rows = samples * seq, width = is_gated(activation) ? 2 * n : n;
                const Tensor u = tensor_of(ctx, random_values(rows * width, 1), {rows, width}, GetParam());
                Tensor y = ctx.empty({rows, n}, GetParam()), expected_y = ctx.empty(y.shape(), GetParam()),
                       out = ctx.empty({samples, 3, n}, DType::f64),
                       expected = ctx.empty(out.shape(), DType::f64);

                activate_with_moments(ctx, activation, u, samples, y, out);

                activate(ctx, activation, u, expected_y);
                moments(ctx, expected_y, samples, {0, n}, expected);
                EXPECT_TRUE(same_bits(y, expected_y)) << to_string(activation) << ' ' << seq << ' ' << n;
                EXPECT_TRUE(near_all(out, values_of(expected), sums_of_the_same))
                    << to_string(activation) << ' ' << seq << ' ' << n;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Types, MomentsOfActivations, testing::ValuesIn(float_types),
                         [](const auto& type) { return std::string(to_string(type.param)); });

TEST(MomentsByHand, AreMagnitudesMeanAndSquaresAboutItOfEachSample) {
    Context ctx(on_test_device());
    const Tensor x = tensor_of(ctx, {9, 1, 9, -2, 9, 3, 9, -4}, {4, 2}, DType::f32);
    Tensor out = ctx.empty({2, 3, 1}, DType::f64);

    moments(ctx, x, 2, {1, 2}, out);

    EXPECT_EQ(values_of(out), (Values{3, -0.5, 4.5, 7, -0.5, 24.5}));
}

TEST(MomentsByHand, OfNaNAndInfinityAreNoNumbersAndSpoilNoOtherColumn) {
    Context ctx(on_test_device());
    const double nan = std::numeric_limits<double>::quiet_NaN(),
                 inf = std::numeric_limits<double>::infinity();
    Values x(20 * 3, 2.0);
    x[3 * 17] = nan;
    x[3 * 4 + 1] = inf;
    Tensor out = ctx.empty({1, 3, 3}, DType::f64);

    moments(ctx, tensor_of(ctx, x, {20, 3}, DType::f32), 1, {0, 3}, out);

    const Values got = values_of(out);
    EXPECT_TRUE(std::isnan(got[0]) && std::isnan(got[3]) && std::isnan(got[6]));
    EXPECT_TRUE(std::isnan(got[7]));
    EXPECT_EQ(got[2], 40);
    EXPECT_EQ(got[8], 0);
}

class MomentsFarFromZero : public testing::TestWithParam<DType> {};

TEST_P(MomentsFarFromZero, KeepTheDigitsInWhichRowsDiffer) {
    Context ctx(on_test_device(2));
    const int64_t rows = 500, n = 37;
    Values x = random_values(rows * n, 3, 1e-3);
    for (double& value : x) value -= 50;
    x = rounded_to(GetParam(), x);
    Tensor out = ctx.empty({1, 3, n}, DType::f64);

    moments(ctx, tensor_of(ctx, x, {rows, n}, GetParam()), 1, {0, n}, out);

    const Values actual = values_of(out), expected = reference::moments(x, n, 1, {0, n});
    for (int64_t j = 0; j < n; ++j) {
        const double squares = expected[2 * n + j];
        EXPECT_NEAR(actual[j], expected[j], 1e-11 * expected[j]);
        EXPECT_NEAR(actual[n + j], expected[n + j], 1e-11 * 50);
        EXPECT_NEAR(actual[2 * n + j], squares, 1e-6 * squares);
    }
}

TEST_P(MomentsFarFromZero, AreThoseOfAConstantWhereRowsAreEqual) {
    Context ctx(on_test_device());
    const double value = rounded_to(GetParam(), {-0.7}).front();
    for (const int64_t rows : {1, 7, 100}) {
        Tensor out = ctx.empty({1, 3, 1}, DType::f64);

        moments(ctx, tensor_of(ctx, Values(rows, value), {rows, 1}, GetParam()), 1, {0, 1}, out);

        EXPECT_EQ(values_of(out), (Values{-value * static_cast<double>(rows), value, 0}));
    }
}

INSTANTIATE_TEST_SUITE_P(Types, MomentsFarFromZero, testing::ValuesIn(float_types),
                         [](const auto& type) { return std::string(to_string(type.param)); });

TEST(MomentsChecks, RefuseRowsThatAreNoWholeSamples) {
    Context ctx(on_test_device());
    Tensor x = ctx.zeros({5, 2}, DType::f32), out = ctx.zeros({2, 3, 2}, DType::f64);

    EXPECT_THROW(moments(ctx, x, 2, {0, 2}, out), InternalError);
}

class RowStatistics : public testing::TestWithParam<std::tuple<RowCase, DType>> {
protected:
    RowCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    Context ctx_{on_test_device(2)};
};

TEST_P(RowStatistics, HeadNormsMatchReference) {
    const int64_t heads = 3;
    const Values o = rounded_to(dtype_, random_values(case_.size() * heads, 1));
    Tensor norms = ctx_.empty({case_.rows, heads}, DType::f32);

    head_norms(ctx_, tensor_of(ctx_, o, {case_.rows, heads * case_.n}, dtype_), heads, norms);

    EXPECT_TRUE(near_all(norms, reference::head_norms(o, case_.n), statistics_tolerance));
}

TEST_P(RowStatistics, RowCosinesMatchReferenceForAnyThreadCount) {
    const Values a = rounded_to(dtype_, random_values(case_.size(), 1));
    const Values b = rounded_to(dtype_, sum_of(a, random_values(case_.size(), 2)));
    const auto cosines = [&](int threads) {
        Context ctx(on_test_device(threads));
        const Shape shape{case_.rows, case_.n};
        Tensor out = ctx.empty({case_.rows}, DType::f64);
        row_cosines(ctx, tensor_of(ctx, a, shape, dtype_), tensor_of(ctx, b, shape, dtype_), out);
        return values_of(out);
    };

    const Values alone = cosines(1);

    EXPECT_TRUE(near_all(alone, reference::row_cosines(a, b, case_.n), statistics_tolerance));
    EXPECT_EQ(cosines(2), alone);
    EXPECT_EQ(cosines(5), alone);
}

INSTANTIATE_TEST_SUITE_P(Cases, RowStatistics,
                         testing::Combine(testing::ValuesIn(row_cases), testing::ValuesIn(float_types)),
                         parameter_name);

TEST(HeadNormsByHand, AreThreeFourFive) {
    Context ctx(on_test_device());
    Tensor norms = ctx.empty({1, 2}, DType::f32);

    head_norms(ctx, tensor_of(ctx, {3, 4, 0, -2}, {1, 4}, DType::f32), 2, norms);

    EXPECT_EQ(values_of(norms), (Values{5, 2}));
}

TEST(RowCosinesByHand, AreOneNothingForAZeroRowAndMinusOne) {
    Context ctx(on_test_device());
    const Tensor a = tensor_of(ctx, {1, 0, 0, 0, 3, 0}, {3, 2}, DType::f32);
    const Tensor b = tensor_of(ctx, {2, 0, 1, 1, -1, 0}, {3, 2}, DType::f32);
    Tensor cosines = ctx.empty({3}, DType::f64);

    row_cosines(ctx, a, b, cosines);

    EXPECT_EQ(values_of(cosines), (Values{1, 0, -1}));
}

TEST(RowCosinesByHand, OfNaNAreNaN) {
    Context ctx(on_test_device());
    const Tensor broken = tensor_of(ctx, {std::nan(""), 1}, {1, 2}, DType::f32),
                 whole = tensor_of(ctx, {1, 2}, {1, 2}, DType::f32),
                 zero = tensor_of(ctx, {0, 0}, {1, 2}, DType::f32);
    Tensor cosine = ctx.empty({1}, DType::f64);
    for (const auto& [a, b] : {std::pair{broken, whole}, std::pair{whole, broken}, std::pair{broken, zero},
                               std::pair{zero, broken}}) {
        row_cosines(ctx, a, b, cosine);

        EXPECT_TRUE(std::isnan(values_of(cosine)[0]));
    }
}

}  // namespace
}  // namespace espalier::test
