#include "src/prune/aggregate.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier::prune {
namespace {

using enum Aggregator;

TEST(UnitSums, GiveAllNinePairsByHand) {
    // One unit, two samples of two tokens: (1, -3) and (2, 2).
    UnitSums sums(1, 1);
    const double first[3] = {4, -1, 8}, second[3] = {4, 2, 0};  // sum |s|, mean s, sum (s - mean)^2
    sums.add_sample(0, 0, 1, first, 2);
    sums.add_sample(0, 0, 1, second, 2);

    const auto score = [&](Aggregator batch, Aggregator sequence) {
        return sums.scores({batch, sequence})[0];
    };
    // Along the sequence: mean 2, 2; L2 sqrt 10, sqrt 8; variance 4, 0.
    EXPECT_DOUBLE_EQ(score(mean, mean), 2);
    EXPECT_DOUBLE_EQ(score(l2, mean), std::sqrt(8.0));
    EXPECT_EQ(score(var, mean), 0);
    EXPECT_DOUBLE_EQ(score(mean, l2), (std::sqrt(10.0) + std::sqrt(8.0)) / 2);
    EXPECT_DOUBLE_EQ(score(l2, l2), std::sqrt(18.0));
    EXPECT_DOUBLE_EQ(score(var, l2), std::pow((std::sqrt(10.0) - std::sqrt(8.0)) / 2, 2));
    EXPECT_DOUBLE_EQ(score(mean, var), 2);
    EXPECT_DOUBLE_EQ(score(l2, var), 4);
    EXPECT_DOUBLE_EQ(score(var, var), 4);
}

TEST(UnitSums, PutUnitsWhereTheyBelong) {
    UnitSums sums(2, 3);
    const double moments[6] = {1, 2, 1, 2, 0, 0};
    sums.add_sample(1, 1, 2, moments, 1);

    EXPECT_EQ(sums.scores({mean, mean}), (std::vector<double>{0, 0, 0, 0, 1, 2}));
}

/// Samples of one token: their aggregates are mean and L2 |s|, variance 0.
UnitSums single_tokens(const std::vector<double>& tokens) {
    UnitSums out(1, 1);
    for (const double s : tokens) {
        const double moments[3] = {s, s, 0};
        out.add_sample(0, 0, 1, moments, 1);
    }
    return out;
}

TEST(UnitSums, KeepTheVarianceOfSamplesFarFromZero) {
    // Multiples of 2^-30, so that their differences from 50 are exact: variance 2^-60 (1 + 4 + 1 + 4) / 4.
    const double unit = std::ldexp(1.0, -30);

    const UnitSums sums = single_tokens({50 - 2 * unit, 50 + unit, 50 - unit, 50 + 2 * unit});

    EXPECT_DOUBLE_EQ(sums.scores({var, mean})[0], 2.5 * unit * unit);
    EXPECT_EQ(single_tokens({0.1, 0.1, 0.1}).scores({var, mean})[0], 0);
}

TEST(UnitSums, AboutOneCentreAddUpToThoseOfAllSamples) {
    const double unit = std::ldexp(1.0, -30);
    UnitSums some = single_tokens({50 - 2 * unit, 50 + unit});
    UnitSums others = single_tokens({50 - unit, 50 + 2 * unit}), none(1, 1);

    for (UnitSums* part : {&others, &none}) {
        part->recentre(some.centres());
        for (size_t i = 0; i < part->sums().size(); ++i) some.sums()[i] += part->sums()[i];
        some.counts()[0] += part->counts()[0];
    }

    EXPECT_DOUBLE_EQ(some.scores({var, mean})[0], 2.5 * unit * unit);
    EXPECT_DOUBLE_EQ(some.scores({mean, mean})[0], 50);
    EXPECT_DOUBLE_EQ(some.scores({l2, l2})[0], 100);
}

}  // namespace
}  // namespace espalier::prune
