#include "src/prune/aggregate.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace espalier::prune {
namespace {

TEST(UnitSums, GiveAllNinePairsByHand) {
    // One unit, two samples of two tokens: (1, -3) and (2, 2).
    UnitSums sums(1, 1);
    const float first[3] = {4, 10, -2}, second[3] = {4, 8, 4};  // sum |s|, sum s^2, sum s
    sums.add_sample(0, 0, 1, first, 2);
    sums.add_sample(0, 0, 1, second, 2);

    const auto score = [&](Aggregator batch, Aggregator sequence) {
        return sums.scores({batch, sequence}, 2)[0];
    };
    using enum Aggregator;
    // Along the sequence: mean 2, 2; L2 sqrt 10, sqrt 8; variance 4, 0.
    EXPECT_DOUBLE_EQ(score(mean, mean), 2);
    EXPECT_DOUBLE_EQ(score(l2, mean), std::sqrt(8.0));
    EXPECT_NEAR(score(var, mean), 0, 1e-15);
    EXPECT_DOUBLE_EQ(score(mean, l2), (std::sqrt(10.0) + std::sqrt(8.0)) / 2);
    EXPECT_DOUBLE_EQ(score(l2, l2), std::sqrt(18.0));
    EXPECT_NEAR(score(var, l2), std::pow((std::sqrt(10.0) - std::sqrt(8.0)) / 2, 2), 1e-14);
    EXPECT_DOUBLE_EQ(score(mean, var), 2);
    EXPECT_DOUBLE_EQ(score(l2, var), 4);
    EXPECT_DOUBLE_EQ(score(var, var), 4);
}

TEST(UnitSums, PutUnitsWhereTheyBelong) {
    UnitSums sums(2, 3);
    const float moments[6] = {1, 2, 1, 4, 1, 2};
    sums.add_sample(1, 1, 2, moments, 1);

    EXPECT_EQ(sums.scores({Aggregator::mean, Aggregator::mean}, 1), (std::vector<double>{0, 0, 0, 0, 1, 2}));
}

}  // namespace
}  // namespace espalier::prune
