#include "src/core/bfloat16.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace espalier {
namespace {

float value_of(uint32_t bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(static_cast<uint16_t>(bits)) << 16);
}

/// IEEE 754 in words: the nearer of the two neighbours, the one with an even last bit when both are as near.
/// In double, where the distance between two f32 is exact; beyond the largest number the next one counts as
/// 2^128.
uint16_t nearest(float x) {
    const auto below = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);  // towards zero
    const auto above = static_cast<uint16_t>(below + 1);
    const auto magnitude = [](uint16_t bits) {
        return (bits & 0x7fffU) == 0x7f80U ? std::ldexp(1.0, 128) : std::fabs(double{value_of(bits)});
    };
    const double to_below = std::fabs(double{x}) - magnitude(below);
    const double to_above = magnitude(above) - std::fabs(double{x});
    if (to_below != to_above) return to_below < to_above ? below : above;
    return below % 2 == 0 ? below : above;
}

TEST(Bfloat16, KeepsEveryValueItCanHold) {
    for (uint32_t bits = 0; bits <= 0xffffU; ++bits) {
        const float x = value_of(bits);
        if (std::isnan(x)) continue;

        ASSERT_EQ(bfloat16(x).bits, bits);
        ASSERT_EQ(
            std::bit_cast<uint32_t>(static_cast<float>(bfloat16::from_bits(static_cast<uint16_t>(bits)))),
            bits << 16);
    }
}

TEST(Bfloat16, RoundsToTheNearestWithTiesToEvenAroundEveryValue) {
    constexpr uint32_t lower_halves[] = {0, 1, 0x1234, 0x7fff, 0x8000, 0x8001, 0xcdef, 0xffff};
    for (uint32_t upper = 0; upper <= 0xffffU; ++upper) {
        if ((upper & 0x7f80U) == 0x7f80U) continue;  // infinity and NaN
        for (const uint32_t lower : lower_halves) {
            const auto x = std::bit_cast<float>(upper << 16 | lower);

            ASSERT_EQ(bfloat16(x).bits, nearest(x)) << std::hex << upper << ' ' << lower;
        }
    }
}

TEST(Bfloat16, OverflowsToInfinity) {
    EXPECT_EQ(bfloat16(std::numeric_limits<float>::max()).bits, 0x7f80);
    EXPECT_EQ(bfloat16(std::numeric_limits<float>::lowest()).bits, 0xff80);
}

TEST(Bfloat16, MakesEveryNaNTheSameOne) {
    for (const uint32_t sign : {0U, 0x80000000U}) {
        for (const uint32_t payload : {1U, 0x8000U, 0xffffU, 0x10000U, 0x400000U, 0x7fffffU}) {
            const bfloat16 rounded(std::bit_cast<float>(sign | 0x7f800000U | payload));

            EXPECT_EQ(rounded.bits, 0x7fc0) << std::hex << payload;
        }
    }
}

}  // namespace
}  // namespace espalier
