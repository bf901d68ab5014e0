#include "src/plan/step.hpp"

#include <gtest/gtest.h>

#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

using model::Recompute;

TEST(Bubble, OfEqualStagesIsPMinusOneOverVM) {
    const std::vector<double> stages(4, 3.0);
    const double m = 8, busy = m * 3.0;

    EXPECT_DOUBLE_EQ(plan::bubble_seconds(stages, 1, m) / busy, 3 / m);
    EXPECT_DOUBLE_EQ(plan::bubble_seconds(stages, 2, m) / busy, 3 / (2 * m));
}

TEST(Bubble, OfUnequalStagesIsWhatTheOthersTakeOnce) {
    EXPECT_DOUBLE_EQ(plan::bubble_seconds({1, 5, 2}, 1, 4), 3);
}

TEST(Predict, CountsTheReplicaWithTheMostSamples) {
    auto step = small_step();
    const auto system = round_system();
    const auto compute = [&](int64_t batch, const plan::Layout& l) {
        step.global_batch = batch;
        return plan::predict(system, step, l).breakdown.compute;
    };
    const plan::Layout alone{1, 1, 1, 1, 2, Recompute::selective}, three{1, 1, 1, 3, 2, Recompute::selective};

    // 9 samples in micro-batches of 2, 2, 2, 2 and 1: the first two replicas have two each.
    EXPECT_DOUBLE_EQ(compute(9, three), compute(4, alone));
    EXPECT_DOUBLE_EQ(compute(9, alone), 4.5 * compute(2, alone));
}

TEST(StepFlops, OfDistillationAreTheTeachersForwardAndThreeOfTheStudents) {
    auto step = small_step();
    const double f = model::forward_flops_per_token(step.model, 16);
    EXPECT_DOUBLE_EQ(step.flops(), 8 * 16 * 3 * f);

    step.teacher = small_model();

    EXPECT_DOUBLE_EQ(step.flops(), 8 * 16 * (3 * f + f));
}

TEST(Predict, APerfectMachineReachesFullUtilisation) {
    auto system = round_system();
    system.memory_bandwidth = 1e30;
    auto step = small_step();
    // Fused attention computes half of its products again, which model FLOPs do not count.
    const plan::Layout l{1, 1, 1, 1, 8, Recompute::selective};
    const double f = model::forward_flops_per_token(step.model, 16), attention = 4 * 2 * 16 * 4 * 2;

    const auto p = plan::predict(system, step, l);

    EXPECT_NEAR(p.mfu, 3 * f / (3 * f + 0.5 * attention), 1e-9);
    EXPECT_NEAR(p.seconds, p.breakdown.sum(), 1e-15);
}

TEST(Predict, LayersWithAWindowTakeTheirOwnTime) {
    auto system = round_system();
    system.memory_bandwidth = 1e30;
    auto step = small_step();
    const plan::Layout l{1, 1, 1, 1, 8, Recompute::selective};
    const double full = plan::predict(system, step, l).seconds;
    step.model.layers[1].window = step.model.layers[3].window = 4;

    // Of two layers' 128 queries, fused attention's 2 products forward and 5 backward of 8 - 3.5 keys.
    EXPECT_NEAR(full - plan::predict(system, step, l).seconds, 2 * 128 * 14 * 8 * (8 - 3.5) / 1e12, 1e-15);
}

TEST(Predict, MessagesBetweenStagesTakeTheBytesOfTheirNumbers) {
    auto step = small_step();
    auto system = round_system();
    system.node.latency = 0;
    const plan::Layout l{1, 2, 1, 1, 1, Recompute::selective};

    // 8 micro-batches of 16 tokens x 8, there and back, at a GB/s.
    EXPECT_NEAR(plan::predict(system, step, l).breakdown.pipeline, 8 * 2 * 16 * 8 * 2 / 1e9, 1e-15);
    step.dtype = DType::f32;
    EXPECT_NEAR(plan::predict(system, step, l).breakdown.pipeline, 8 * 2 * 16 * 8 * 4 / 1e9, 1e-15);
}

TEST(Predict, AnOptimizerInF32WritesItsMasterAlone) {
    auto step = small_step();
    const plan::Layout l{1, 1, 1, 1, 1, Recompute::selective};

    EXPECT_NEAR(plan::predict(round_system(), step, l).breakdown.optimizer, 30 * (4 * 720 + 264) / 1e12,
                1e-18);
    step.dtype = DType::f32;
    EXPECT_NEAR(plan::predict(round_system(), step, l).breakdown.optimizer, 28 * (4 * 720 + 264) / 1e12,
                1e-18);
}

TEST(Predict, TheHeadMakesTheLastStageTheSlowest) {
    auto step = small_step();
    const plan::Layout l{1, 2, 1, 1, 1, Recompute::selective};
    const double narrow = plan::predict(round_system(), step, l).seconds;
    step.model.vocab = 160000;

    const auto wide = plan::predict(round_system(), step, l);

    EXPECT_GT(wide.seconds, 2 * narrow);
    EXPECT_GT(wide.breakdown.compute, 10 * wide.breakdown.bubble);
}

TEST(Predict, OverlapHidesTheExchangeOfGradientsButForABucket) {
    auto step = small_step();
    step.practice.bucket = 100;
    step.practice.bucket_of_replica = 0;
    auto system = round_system();
    system.node.bandwidth = 1e15;
    system.node.latency = 0;
    const plan::Layout l{1, 1, 1, 2, 4, Recompute::selective};
    const double hidden = plan::predict(system, step, l).breakdown.data;
    step.practice.gradients = plan::Practice::Gradients::after_backward;

    const double waited_for = plan::predict(system, step, l).breakdown.data;

    EXPECT_NEAR(waited_for / hidden, (4 * 720 + 264) / 100.0, 1e-6);
}

TEST(Predict, NodesApartMakeDataParallelismSlower) {
    auto step = small_step();
    step.practice.gradients = plan::Practice::Gradients::after_backward;
    const plan::Layout inside{1, 1, 1, 4, 1, Recompute::selective},
        across{1, 1, 1, 8, 1, Recompute::selective};

    EXPECT_GT(plan::predict(round_system(), step, across).breakdown.data,
              2 * plan::predict(round_system(), step, inside).breakdown.data);
}

TEST(Predict, ATeacherAddsItsForwardPass) {
    auto system = round_system();
    system.memory_bandwidth = 1e30;
    auto step = small_step();
    const plan::Layout l{1, 1, 1, 1, 8, Recompute::selective};
    const double alone = plan::predict(system, step, l).seconds;
    step.teacher = small_model();

    const double taught = plan::predict(system, step, l).seconds;

    EXPECT_NEAR(taught - alone, 128 * model::forward_flops_per_token(step.model, 16) / 1e12, 1e-12);
}

}  // namespace
}  // namespace espalier::test
