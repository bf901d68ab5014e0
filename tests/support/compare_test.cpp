// The comparisons can fail: each rejects a result that is just outside what it allows.
#include "tests/support/compare.hpp"

#include <cmath>
#include <limits>

namespace espalier::test {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

class ToleranceTable : public testing::TestWithParam<std::pair<Device, DType>> {};

TEST_P(ToleranceTable, AcceptsHalfOfWhatItAllowsAndRejectsTwice) {
    const auto allowed = tolerance(GetParam().first, GetParam().second);
    const Values expected = random_values(1001, 7);
    const double slack = allowed.relative * std::abs(expected[500]) + allowed.of_scale;  // rms is near 1

    Values close = expected, far = expected;
    close[500] += 0.5 * slack;
    far[500] += 2 * slack;

    EXPECT_TRUE(near_all(close, expected, allowed));
    EXPECT_FALSE(near_all(far, expected, allowed));
}

INSTANTIATE_TEST_SUITE_P(Rows, ToleranceTable,
                         testing::Values(std::pair{Device::cpu, DType::f32},
                                         std::pair{Device::cpu, DType::bf16},
                                         std::pair{Device::cpu, DType::f64},
                                         std::pair{Device::cuda, DType::f32},
                                         std::pair{Device::cuda, DType::bf16}));

TEST(NearAll, NamesTheWorstElement) {
    const auto result = near_all(Values{1, 2.5, 4}, Values{1, 2, 3}, {1e-3, 0});

    EXPECT_FALSE(result);
    EXPECT_NE(std::string(result.message()).find("element 2 of 3 is 4, expected 3"), std::string::npos)
        << result.message();
}

TEST(NearEach, HoldsEveryElementToItsOwnAllowance) {
    EXPECT_TRUE(near_each({10.5, 1.05}, {10, 1}, {1, 0.1}));
    EXPECT_FALSE(near_each({10.5, 1.2}, {10, 1}, {1, 0.1}));
}

TEST(NearAll, RejectsAnotherSize) {
    EXPECT_FALSE(near_all(Values{1, 2}, Values{1}, {1, 1}));
}

TEST(NearAll, RejectsNanOnEitherSide) {
    EXPECT_FALSE(near_all(Values{nan}, Values{1}, {10, 10}));
    EXPECT_FALSE(near_all(Values{1}, Values{nan}, {10, 10}));
    EXPECT_FALSE(near_all(Values{nan}, Values{nan}, {10, 10}));
}

TEST(NearAll, TakesAnInfinityForItselfOnly) {
    EXPECT_TRUE(near_all(Values{infinity, 1}, Values{infinity, 1}, {1e-3, 1e-3}));
    EXPECT_FALSE(near_all(Values{-infinity, 1}, Values{infinity, 1}, {1e-3, 1e-3}));
    EXPECT_FALSE(near_all(Values{1e300, 1}, Values{infinity, 1}, {1e-3, 1e-3}));
    EXPECT_FALSE(near_all(Values{infinity, 1}, Values{1e300, 1}, {1e-3, 1e-3}));
}

TEST(NearAll, AllowsOnlyTheAbsolutePartAroundAnAllZeroReference) {
    EXPECT_FALSE(near_all(Values{1e-30}, Values{0}, {1, 1}));
    EXPECT_TRUE(near_all(Values{1e-9}, Values{0}, {0, 0, 2e-9}));
    EXPECT_FALSE(near_all(Values{1e-9}, Values{0}, {0, 0, 5e-10}));
}

TEST(SameBits, RejectsOneUnitInTheLastPlaceAndAnotherShape) {
    Context ctx({});
    const Tensor a = tensor_of(ctx, {1, 2, 3}, {3}, DType::f32);
    Tensor b = tensor_of(ctx, {1, 2, 3}, {3}, DType::f32);
    EXPECT_TRUE(same_bits(b, a));

    b.data<float>()[1] = std::nextafterf(2.0f, 3.0f);

    EXPECT_FALSE(same_bits(b, a));
    EXPECT_FALSE(same_bits(a.view({3, 1}), a));
}

TEST(TensorOf, RoundsToNearestEvenAndReadsBack) {
    Context ctx({});

    const Tensor x = tensor_of(ctx, {1.0, 1.0 + 0x1p-8, 1.0 + 3 * 0x1p-8}, {3}, DType::bf16);

    EXPECT_EQ(values_of(x), (Values{1.0, 1.0, 1.0 + 0x1p-6}));
    EXPECT_EQ(values_of(x), rounded_to(DType::bf16, {1.0, 1.0 + 0x1p-8, 1.0 + 3 * 0x1p-8}));
}

TEST(RandomValues, HaveTheDeviationAskedForAndFollowTheSeed) {
    const Values a = random_values(4000, 1, 3.0);
    double sum = 0;
    for (const double v : a) sum += v * v;

    EXPECT_NEAR(std::sqrt(sum / 4000), 3.0, 0.15);
    EXPECT_EQ(a, random_values(4000, 1, 3.0));
    EXPECT_NE(a, random_values(4000, 2, 3.0));
}

}  // namespace
}  // namespace espalier::test
