#include "src/train/schedule.hpp"

#include <gtest/gtest.h>

namespace espalier::train {
namespace {

TEST(Schedule, WarmsUpInALineAndFallsAsHalfACosine) {
    const Schedule s{.peak = 2e-3, .floor = 2e-4, .warmup_steps = 2, .steps = 6};

    EXPECT_DOUBLE_EQ(learning_rate(s, 1), 1e-3);
    EXPECT_DOUBLE_EQ(learning_rate(s, 2), 2e-3);
    EXPECT_DOUBLE_EQ(learning_rate(s, 4), 1.1e-3);  // half way
    EXPECT_DOUBLE_EQ(learning_rate(s, 6), 2e-4);
}

TEST(Schedule, WithoutWarmUpStartsJustBelowThePeak) {
    const Schedule s{.peak = 1, .floor = 0, .warmup_steps = 0, .steps = 2};

    EXPECT_DOUBLE_EQ(learning_rate(s, 1), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate(s, 2), 0.0);
}

}  // namespace
}  // namespace espalier::train
