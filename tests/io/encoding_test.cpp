#include "io/encoding.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier::test {
namespace {

TEST(Encoding, EveryHalfBecomesTheSameNumber) {
    for (int bits = 0; bits < 65536; ++bits) {
        const auto value = io::half_to_float(static_cast<uint16_t>(bits));
        if ((bits >> 10 & 31) == 31) {
            EXPECT_EQ(std::isnan(value), (bits & 1023) != 0) << bits;
            EXPECT_EQ(std::isinf(value), (bits & 1023) == 0) << bits;
        } else {
            const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
            const double magnitude =
                exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
            EXPECT_EQ(std::fabs(value), magnitude) << bits;
        }
        EXPECT_EQ(std::signbit(value), bits >= 32768) << bits;
    }
}

TEST(Encoding, CountsThatOverflowAreNoCounts) {
    EXPECT_EQ(io::checked_count({}), 1);
    EXPECT_EQ(io::checked_count({2, 3}), 6);
    EXPECT_EQ(io::checked_count({0, 5}), 0);
    EXPECT_EQ(io::checked_count({-1}), std::nullopt);
    EXPECT_EQ(io::checked_count({int64_t{1} << 32, int64_t{1} << 31}), std::nullopt);
    EXPECT_EQ(io::checked_count({int64_t{1} << 32, int64_t{1} << 31, 0}), std::nullopt);
}

}  // namespace
}  // namespace espalier::test
