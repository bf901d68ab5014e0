#include "kernels/cpu/vector_math.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace espalier::cpu {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Distance in units in the last place of the exact result; infinite where there is no number.
double ulps(float actual, double exact) {
    if (!std::isfinite(actual)) return std::numeric_limits<double>::infinity();
    const double unit = std::ldexp(1.0, std::max(std::ilogb(exact), -126) - 23);
    return std::abs(double{actual} - exact) / unit;
}

TEST(FastExp, IsWithinAUnitInTheLastPlace) {
    double worst = 0;
    for (float x = -104.0f; x < 88.7f; x += 0.000731f)
        worst = std::max(worst, ulps(fast_exp(x), std::exp(double{x})));

    EXPECT_LE(worst, 1.0);
}

TEST(FastExp, KeepsTheEndsOfItsRange) {
    EXPECT_EQ(fast_exp(-infinity), 0.0f);
    EXPECT_EQ(fast_exp(infinity), infinity);
    EXPECT_EQ(fast_exp(0.0f), 1.0f);
    EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(FastExpFlushed, IsWithinAUnitInTheLastPlaceFromMinus86To88) {
    double worst = 0;
    for (float x = -86.0f; x <= 88.0f; x += 0.000731f)
        worst = std::max(worst, ulps(fast_exp_flushed(x), std::exp(double{x})));

    EXPECT_LE(worst, 1.0);
}

TEST(FastExpFlushed, IsNothingBelowAndKeepsWhatIsNoNumber) {
    for (const float x : {-86.01f, -100.0f, -1e9f, std::numeric_limits<float>::lowest(), -infinity})
        EXPECT_EQ(fast_exp_flushed(x), 0.0f) << x;
    EXPECT_EQ(fast_exp_flushed(0.0f), 1.0f);
    for (const uint32_t nan : {0x7fc00000U, 0xffc00000U, 0x7fc00001U, 0xffffffffU})
        EXPECT_TRUE(std::isnan(fast_exp_flushed(std::bit_cast<float>(nan)))) << nan;
}

TEST(FastTanh, IsWithinThreeUnitsInTheLastPlace) {
    double worst = 0;
    for (float x = -20.0f; x < 20.0f; x += 0.000137f)
        worst = std::max(worst, ulps(fast_tanh(x), std::tanh(double{x})));

    EXPECT_LE(worst, 3.0);
    EXPECT_EQ(fast_tanh(0.0f), 0.0f);
    EXPECT_EQ(fast_tanh(1e-30f), 1e-30f);
    EXPECT_EQ(fast_tanh(infinity), 1.0f);
    EXPECT_EQ(fast_tanh(-infinity), -1.0f);
    EXPECT_TRUE(std::isnan(fast_tanh(std::numeric_limits<float>::quiet_NaN())));
}

TEST(FastLog, IsWithinTwoUnitsInTheLastPlaceOfPositiveNormalNumbers) {
    double worst = 0;
    for (float x = std::numeric_limits<float>::min(); x < 1e38f; x *= 1.00013f) {
        worst = std::max(worst, ulps(fast_log(x), std::log(double{x})));
    }

    EXPECT_LE(worst, 2.0);
    EXPECT_EQ(fast_log(1.0f), 0.0f);
}

}  // namespace
}  // namespace espalier::cpu
