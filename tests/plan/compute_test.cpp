#include "src/plan/compute.hpp"

#include <gtest/gtest.h>

#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

using model::Recompute;
using plan::Practice;

/// Only products take time.
plan::System only_products() {
    auto s = round_system();
    s.memory_bandwidth = 1e30;
    s.node = {1e30, 1, 0};
    s.network = s.node;
    return s;
}

TEST(Compute, ForwardTakesTheModelsFlops) {
    const auto system = only_products();
    const auto step = small_step();
    const plan::Layout layout{1, 1, 1, 1, 2, Recompute::selective};
    const plan::Compute compute(system, step, layout);

    double seconds = compute.head().forward.sum();
    for (int64_t i = 0; i < 4; ++i) seconds += compute.layer(step.model, i).forward.sum();

    EXPECT_NEAR(seconds, 32 * model::forward_flops_per_token(step.model, 16) / 1e12, 1e-15);
}

TEST(Compute, FusedAttentionTakesTheKeysOfItsWindow) {
    const auto system = only_products();
    auto step = small_step();
    const plan::Layout layout{1, 1, 1, 1, 2, Recompute::selective};
    const auto forward = [&] {
        return plan::Compute(system, step, layout).layer(step.model, 0).forward.sum();
    };
    const double full = forward();
    step.model.layers[0].window = 4;

    // 32 queries of 4 heads of 2: of 16 keys 8 on average, in the window 4 (1 - 4 / 32) = 3.5.
    EXPECT_NEAR(full - forward(), 4 * 32 * 8 * (8 - 3.5) / 1e12, 1e-18);
    const double fused = forward();
    step.practice.attention = Practice::Attention::materialised;
    EXPECT_NEAR(forward() - fused, 4 * 32 * 8 * (16 - 3.5) / 1e12, 1e-18);
}

TEST(Compute, BackwardOfProductsIsTwiceForwardAndFullRecomputeAddsOne) {
    auto system = only_products();
    auto step = small_step();
    step.practice.attention = Practice::Attention::materialised;
    step.practice.full = Practice::Full::whole_layer;
    const plan::Layout kept{1, 1, 1, 1, 2, Recompute::none}, full{1, 1, 1, 1, 2, Recompute::full};

    const auto a = plan::Compute(system, step, kept).layer(step.model, 0),
               b = plan::Compute(system, step, full).layer(step.model, 0);

    EXPECT_NEAR(a.backward.sum(), 2 * a.forward.sum(), 1e-18);
    EXPECT_NEAR(b.backward.sum(), 3 * b.forward.sum(), 1e-18);
}

TEST(Compute, FullRecomputationLeavesOutTheLayersOutput) {
    auto system = round_system();
    const auto step = small_step();
    const plan::Layout kept{2, 1, 1, 1, 2, Recompute::none}, full{2, 1, 1, 1, 2, Recompute::full};
    const auto saved = [&] {
        const auto a = plan::Compute(system, step, kept).layer(step.model, 0),
                   b = plan::Compute(system, step, full).layer(step.model, 0);
        return plan::Seconds{a.forward.compute - (b.backward.compute - a.backward.compute),
                             a.forward.tensor - (b.backward.tensor - a.backward.tensor)};
    };

    // Of 32 tokens a product of 8 x 16 and a scatter, of 16 a residual sum of 3 x 8 numbers.
    EXPECT_NEAR(saved().compute, 2 * 32 * 8 * 16 / 1e12 + 16 * 2 * 3 * 8 / 1e12, 1e-18);
    EXPECT_NEAR(saved().tensor, (512e-9 + 2e-6) / 2, 1e-15);
    system.launch_seconds = 1;
    EXPECT_NEAR(saved().compute + saved().tensor, 3, 1e-12);
}

TEST(Compute, TensorParallelLayersExchangeTwoAllReducesForward) {
    const auto system = round_system();
    const auto step = small_step();
    const plan::Layout layout{2, 1, 1, 1, 2, Recompute::selective};

    const auto layer = plan::Compute(system, step, layout).layer(step.model, 0);

    // 32 tokens x 8 x 2 bytes = 512: 2 x 1/2 x 512 / 1e9 + 2 x 1e-6, twice.
    EXPECT_NEAR(layer.forward.tensor, 2 * (512e-9 + 2e-6), 1e-15);
}

TEST(Compute, NormsOutputsThatAreNotKeptAreGatheredOnceMore) {
    const auto system = round_system();
    auto step = small_step();
    const plan::Layout again{2, 1, 1, 1, 2, Recompute::selective}, kept{2, 1, 1, 1, 2, Recompute::none};
    const auto tensor = [&](const plan::Layout& l) {
        return plan::Compute(system, step, l).layer(step.model, 0).backward.tensor;
    };

    // Two gathers are as long as one all-reduce.
    EXPECT_NEAR(tensor(kept), 2 * (512e-9 + 2e-6), 1e-15);
    EXPECT_NEAR(tensor(again), 3 * (512e-9 + 2e-6), 1e-15);
    step.practice.selective = Practice::Selective::attention;
    EXPECT_NEAR(tensor(again), 2 * (512e-9 + 2e-6), 1e-15);
}

TEST(Compute, SelectiveRecomputationDoesNormsAndActivationOnceMore) {
    auto system = round_system();
    system.peak_flops[DType::bf16] = 1e30;
    const auto step = small_step();
    const plan::Layout again{1, 1, 1, 1, 2, Recompute::selective}, kept{1, 1, 1, 1, 2, Recompute::none};

    const auto a = plan::Compute(system, step, again).layer(step.model, 0),
               b = plan::Compute(system, step, kept).layer(step.model, 0);

    // 32 tokens: two norms read and write 8 numbers, the activation 32.
    EXPECT_NEAR(a.backward.compute - b.backward.compute, 32 * 2 * (4 * 8 + 2 * 32) / 1e12, 1e-18);
    EXPECT_EQ(a.forward.compute, b.forward.compute);
}

TEST(Compute, TheHeadsGatherHiddenStatesOfTheirOwnModels) {
    auto system = round_system();
    system.node.latency = 0;
    auto step = small_step();
    const plan::Layout layout{2, 1, 1, 1, 2, Recompute::selective};
    const double alone = plan::Compute(system, step, layout).head().forward.tensor;
    step.teacher = step.model;
    step.teacher->hidden *= 3;

    EXPECT_DOUBLE_EQ(plan::Compute(system, step, layout).head().forward.tensor, 4 * alone);
}

TEST(Compute, NumbersOfTwiceTheBytesTravelTwiceAsLong) {
    auto system = round_system();
    system.node.latency = 0;
    auto step = small_step();
    const plan::Layout layout{2, 1, 1, 1, 2, Recompute::selective};
    const auto half = plan::Compute(system, step, layout).layer(step.model, 0);
    step.dtype = DType::f32;

    const auto whole = plan::Compute(system, step, layout).layer(step.model, 0);

    EXPECT_DOUBLE_EQ(whole.forward.tensor, 2 * half.forward.tensor);
    EXPECT_DOUBLE_EQ(whole.backward.tensor, 2 * half.backward.tensor);
}

TEST(Compute, ElementwiseWorkMovesTheBytesOfItsNumbers) {
    auto system = round_system();
    system.peak_flops[DType::bf16] = system.peak_flops[DType::f32] = 1e30;
    auto step = small_step();
    const plan::Layout layout{1, 1, 1, 1, 2, Recompute::full};
    const auto half = plan::Compute(system, step, layout).layer(step.model, 0);
    step.dtype = DType::f32;

    const auto whole = plan::Compute(system, step, layout).layer(step.model, 0);

    // 32 tokens: norms and residual sums move 10 x 8 numbers, activation and rotation 2 x 32 + 2 x (8 + 4).
    EXPECT_NEAR(half.forward.compute, 32 * 2 * (80 + 88) / 1e12, 1e-18);
    EXPECT_NEAR(whole.forward.compute, 32 * 4 * (80 + 88) / 1e12, 1e-18);
}

TEST(Compute, NormedHeadsAreReadAndWrittenAndTurnedAgainWhereTheyAreNotKept) {
    auto system = round_system();
    system.peak_flops[DType::bf16] = 1e30;
    auto plain = small_step(), normed = plain;
    normed.model.qk_norm_eps = 1e-6f;
    const plan::Layout again{1, 1, 1, 1, 2, Recompute::selective}, kept{1, 1, 1, 1, 2, Recompute::none};
    const auto more = [&](const plan::Layout& l) {
        const auto a = plan::Compute(system, normed, l).layer(normed.model, 0),
                   b = plan::Compute(system, plain, l).layer(plain.model, 0);
        return std::pair{a.forward.compute - b.forward.compute, a.backward.compute - b.backward.compute};
    };
    const double heads = 32 * 2 * 2 * (8 + 4) / 1e12;  // bytes of 32 tokens' queries and keys, both ways

    EXPECT_NEAR(more(kept).first, heads, 1e-18);
    EXPECT_NEAR(more(kept).second, 2 * heads, 1e-18);
    EXPECT_NEAR(more(again).first, heads, 1e-18);
    EXPECT_NEAR(more(again).second, 4 * heads, 1e-18);
}

TEST(Compute, AHostThatStartsKernelsSlowlySetsThePace) {
    auto system = only_products();
    system.launch_seconds = 1;
    const auto step = small_step();
    const plan::Layout layout{1, 1, 1, 1, 1, Recompute::selective};

    const auto layer = plan::Compute(system, step, layout).layer(step.model, 0);

    // docs/planner.md: at least 24 kernels forward, 48 backward.
    EXPECT_DOUBLE_EQ(layer.forward.sum(), 24);
    EXPECT_DOUBLE_EQ(layer.backward.sum(), 48);
}

TEST(MatmulCurve, ReachesHalfOfTheBestAtHalfSizeAndLessWhereRowsAreUnaligned) {
    const plan::MatmulCurve curve{0.8, 512, 0.5};

    EXPECT_DOUBLE_EQ(curve.efficiency(512, 512, 512), 0.4);
    EXPECT_NEAR(curve.efficiency(1e9, 1e9, 1e9), 0.8, 1e-6);
    EXPECT_NEAR(curve.efficiency(512, 511, 513), 0.2, 1e-6);
}

}  // namespace
}  // namespace espalier::test
