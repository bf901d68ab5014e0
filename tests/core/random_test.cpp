#include "src/core/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace espalier {
namespace {

constexpr uint64_t count = 200'000;

TEST(Mix64, IsSplitMix64) {
    // The first outputs of the published generator from seed 0, whose state grows by the golden gamma.
    EXPECT_EQ(mix64(0), 0xe220a8397b1dcdafULL);
    EXPECT_EQ(mix64(0x9e3779b97f4a7c15ULL), 0x6e789e6aa1b965f4ULL);
    EXPECT_EQ(mix64(2 * 0x9e3779b97f4a7c15ULL), 0x06c45d188009454fULL);
}

TEST(HashName, IsFnv1a) {
    // Test vectors of the FNV authors.
    EXPECT_EQ(hash_name(""), 0xcbf29ce484222325ULL);
    EXPECT_EQ(hash_name("a"), 0xaf63dc4c8601ec8cULL);
    EXPECT_EQ(hash_name("foobar"), 0x85944171f73967e8ULL);
}

TEST(Uniform, HasTheMomentsOfTheUniformDistribution) {
    double sum = 0, sum_of_squares = 0;
    for (uint64_t i = 0; i < count; ++i) {
        const double u = uniform(42, i);
        ASSERT_GE(u, 0.0);
        ASSERT_LT(u, 1.0);
        sum += u;
        sum_of_squares += u * u;
    }

    // Five standard errors: sqrt(1/12 / n) of the mean, sqrt(4/45 / n) of the mean square.
    EXPECT_NEAR(sum / count, 0.5, 5 * std::sqrt(1.0 / 12 / count));
    EXPECT_NEAR(sum_of_squares / count, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / count));
}

TEST(Normal, HasTheMomentsOfTheNormalDistribution) {
    double sums[5] = {};
    for (uint64_t i = 0; i < count; ++i) {
        const double x = normal(7, i);
        for (int power = 1; power <= 4; ++power) sums[power] += std::pow(x, power);
    }

    // Five standard errors; the variances of x .. x^4 are 1, 2, 15, 96.
    EXPECT_NEAR(sums[1] / count, 0, 5 * std::sqrt(1.0 / count));
    EXPECT_NEAR(sums[2] / count, 1, 5 * std::sqrt(2.0 / count));
    EXPECT_NEAR(sums[3] / count, 0, 5 * std::sqrt(15.0 / count));
    EXPECT_NEAR(sums[4] / count, 3, 5 * std::sqrt(96.0 / count));
}

TEST(Normal, HasTheShareOfTheNormalDistributionBelowEachPoint) {
    std::vector<double> values(count);
    for (uint64_t i = 0; i < count; ++i) values[i] = normal(11, i);
    std::ranges::sort(values);

    for (const double x : {-3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0}) {
        const double share =
            static_cast<double>(std::ranges::lower_bound(values, x) - values.begin()) / count;
        EXPECT_NEAR(share, std::erfc(-x / std::sqrt(2.0)) / 2, 2.5 / std::sqrt(double{count}));
    }
}

TEST(Normal, IsUncorrelatedBetweenNeighboursAndBetweenKeys) {
    double neighbours = 0, keys = 0;
    for (uint64_t i = 0; i < count; ++i) {
        neighbours += normal(1, i) * normal(1, i + 1);
        keys += normal(1, i) * normal(2, i);
    }

    EXPECT_NEAR(neighbours / count, 0, 5 / std::sqrt(double{count}));
    EXPECT_NEAR(keys / count, 0, 5 / std::sqrt(double{count}));
}

}  // namespace
}  // namespace espalier
