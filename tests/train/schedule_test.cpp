#include "src/train/schedule.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "src/core/error.hpp"

namespace espalier::train {
namespace {

TEST(Schedule, WarmsUpInALineAndFallsAsHalfACosine) {
    const Schedule s{.peak = 2e-3, .floor = 2e-4, .warmup_steps = 2, .steps = 6};

    EXPECT_DOUBLE_EQ(learning_rate(s, 1), 1e-3);
    EXPECT_DOUBLE_EQ(learning_rate(s, 2), 2e-3);
    EXPECT_DOUBLE_EQ(learning_rate(s, 4), 1.1e-3);  // half way
    EXPECT_DOUBLE_EQ(learning_rate(s, 6), 2e-4);
}

/// By Megatron-LM's formulas, worked out by hand: 2 steps of warm-up, 10 in all, from 1 to 0.2.
TEST(Schedule, FallsAsItsDecaySays) {
    const auto at = [](Decay decay, int64_t step) {
        return learning_rate({.peak = 1, .floor = 0.2, .warmup_steps = 2, .steps = 10, .decay = decay}, step);
    };
    for (const Decay decay :
         {Decay::cosine, Decay::linear, Decay::constant, Decay::inverse_square_root, Decay::wsd})
        EXPECT_DOUBLE_EQ(at(decay, 1), 0.5);

    EXPECT_DOUBLE_EQ(at(Decay::linear, 4), 0.8);
    EXPECT_DOUBLE_EQ(at(Decay::linear, 10), 0.2);
    EXPECT_DOUBLE_EQ(at(Decay::constant, 10), 1);
    EXPECT_DOUBLE_EQ(at(Decay::inverse_square_root, 8), 0.5);
    EXPECT_DOUBLE_EQ(at(Decay::wsd, 9), 1);  // a tenth of ten steps anneals
    EXPECT_DOUBLE_EQ(at(Decay::wsd, 10), 0.2);
    EXPECT_DOUBLE_EQ(
        learning_rate({.peak = 1, .floor = 0.5, .steps = 9, .decay = Decay::inverse_square_root}, 9), 0.5);
}

TEST(Schedule, AnnealsOverTheLastStepsOfWsd) {
    const auto at = [](Annealing annealing, int64_t step) {
        return learning_rate({.peak = 1,
                              .floor = 0.2,
                              .warmup_steps = 2,
                              .steps = 10,
                              .decay = Decay::wsd,
                              .annealing = annealing,
                              .annealing_steps = 4},
                             step);
    };
    for (const Annealing annealing :
         {Annealing::exponential, Annealing::linear, Annealing::cosine, Annealing::minus_sqrt}) {
        EXPECT_DOUBLE_EQ(at(annealing, 6), 1);
        EXPECT_DOUBLE_EQ(at(annealing, 10), 0.2);
    }

    EXPECT_DOUBLE_EQ(at(Annealing::linear, 8), 0.6);
    EXPECT_DOUBLE_EQ(at(Annealing::cosine, 8), 0.6);
    EXPECT_DOUBLE_EQ(at(Annealing::minus_sqrt, 7), 0.6);
    EXPECT_DOUBLE_EQ(at(Annealing::exponential, 8), 0.2 + 0.8 * (std::sqrt(2.0) - 1));
}

TEST(Schedule, NamesAreMegatronsAndOthersAreRefusedByTheirOption) {
    EXPECT_EQ(decay_from_string("inverse-square-root", "--lr-decay-style"), Decay::inverse_square_root);
    EXPECT_EQ(annealing_from_string("minus-sqrt", "--lr-wsd-decay-style"), Annealing::minus_sqrt);
    EXPECT_THROW(decay_from_string("polynomial", "--lr-decay-style"), UserError);
}

TEST(Schedule, WithoutWarmUpStartsJustBelowThePeak) {
    const Schedule s{.peak = 1, .floor = 0, .warmup_steps = 0, .steps = 2};

    EXPECT_DOUBLE_EQ(learning_rate(s, 1), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate(s, 2), 0.0);
}

}  // namespace
}  // namespace espalier::train
