#include "src/plan/memory.hpp"

#include <gtest/gtest.h>

#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

using model::Recompute;
using plan::Practice;

/// The paper's own form: full attention, MLP of 4 h, dropout.
plan::Step papers_step(Practice::Norms norms) {
    plan::Step step = small_step();
    step.model.layers.assign(4, {4, 4, 32});
    step.practice.attention = Practice::Attention::materialised;
    step.practice.selective = Practice::Selective::attention;
    step.practice.norms = norms;
    step.practice.dropout_bytes = 1;
    return step;
}

TEST(Activations, AreThoseOfThePaperWithSequenceParallelism) {
    const auto step = papers_step(Practice::Norms::split_tokens);
    const double s = 16, b = 2, h = 8, a = 4, t = 2, sbh = s * b * h;
    plan::Layout l{2, 1, 1, 1, 2, Recompute::none};

    EXPECT_DOUBLE_EQ(plan::layer_activations(step, l, step.model, 0), sbh / t * (34 + 5 * a * s / h));
    l.recompute = Recompute::selective;
    EXPECT_DOUBLE_EQ(plan::layer_activations(step, l, step.model, 0), 34 * sbh / t);
    l.recompute = Recompute::full;
    EXPECT_DOUBLE_EQ(plan::layer_activations(step, l, step.model, 0), 2 * sbh / t);
}

TEST(Activations, AreThoseOfThePaperWithoutSequenceParallelism) {
    const auto step = papers_step(Practice::Norms::every_rank);
    const double sbh = 16 * 2 * 8, t = 2;
    plan::Layout l{2, 1, 1, 1, 2, Recompute::selective};

    EXPECT_DOUBLE_EQ(plan::layer_activations(step, l, step.model, 0), sbh * (10 + 24 / t));
    l.recompute = Recompute::full;
    EXPECT_DOUBLE_EQ(plan::layer_activations(step, l, step.model, 0), 2 * sbh);
}

plan::Memory whole(const plan::Step& step, const plan::Layout& l, int64_t stage) {
    plan::StepPartition partition(step);
    return plan::memory(step, l, stage, partition);
}

TEST(Memory, OfStateIsTwoFourAndTwelveBytesAWeight) {
    const auto step = small_step();
    const double n = 4 * 720 + 128 + 136;

    const auto m = whole(step, {1, 1, 1, 4, 1, Recompute::full}, 0);

    EXPECT_DOUBLE_EQ(m.weights, 2 * n);
    EXPECT_DOUBLE_EQ(m.gradients, 4 * n);
    EXPECT_DOUBLE_EQ(m.optimizer, 12 * n / 4);
}

TEST(Memory, OfStateInF32IsFourFourAndEightBytesAWeight) {
    auto step = small_step();
    step.dtype = DType::f32;
    const double n = 4 * 720 + 128 + 136;

    const auto m = whole(step, {1, 1, 1, 4, 1, Recompute::full}, 0);

    EXPECT_DOUBLE_EQ(m.weights, 4 * n);
    EXPECT_DOUBLE_EQ(m.gradients, 4 * n);
    EXPECT_DOUBLE_EQ(m.optimizer, 8 * n / 4);
}

TEST(Memory, OfActivationsInF32IsTwiceThatInBf16) {
    auto step = small_step();
    step.practice.selective = Practice::Selective::attention;  // keeps no statistics, which are f32 anyway
    for (const auto recompute : {Recompute::full, Recompute::selective}) {
        const plan::Layout l{1, 2, 1, 1, 1, recompute};
        step.dtype = DType::bf16;
        const double half = whole(step, l, 1).activations;
        step.dtype = DType::f32;

        EXPECT_DOUBLE_EQ(whole(step, l, 1).activations, 2 * half);
    }
}

TEST(Memory, OfLogitsIsABlockOfEachModelAndItsGradient) {
    auto step = small_step();
    step.model.vocab = 1 << 20;
    step.seq_len = 1024;
    const plan::Layout l{1, 1, 1, 1, 1, Recompute::full};
    const double block = 256.0 * (1 << 20);  // 1 GiB of f32

    EXPECT_DOUBLE_EQ(whole(step, l, 0).logits, (4 + 2) * block);
    step.teacher = step.model;
    EXPECT_DOUBLE_EQ(whole(step, l, 0).logits, (4 + 4 + 2) * block);
}

TEST(Memory, AReplicatedOptimizerIsWholeEverywhere) {
    auto step = small_step();
    step.practice.state = Practice::State::replicated;

    EXPECT_DOUBLE_EQ(whole(step, {1, 1, 1, 4, 1, Recompute::full}, 0).optimizer, 12.0 * (4 * 720 + 264));
}

TEST(Memory, TheFirstStageHoldsAsManyMicroBatchesAsThereAreStages) {
    const auto step = small_step();
    const plan::Layout l{1, 4, 1, 1, 1, Recompute::selective};
    const double layer = plan::layer_activations(step, l, step.model, 0),
                 backward = plan::backward_bytes(step, l, step.model, 0);

    EXPECT_DOUBLE_EQ(whole(step, l, 0).activations, 4 * layer + backward);
    EXPECT_DOUBLE_EQ(whole(step, l, 2).activations, 2 * layer + backward);
}

TEST(Memory, InterleavingHoldsMoreByTheShareOfThePaper) {
    const auto step = small_step();
    const plan::Layout l{1, 2, 2, 1, 1, Recompute::selective};
    const double layer = plan::layer_activations(step, l, step.model, 0),
                 backward = plan::backward_bytes(step, l, step.model, 0), p = 2, v = 2;

    // L layers (1 + (p - 1) / (p v))
    EXPECT_DOUBLE_EQ(whole(step, l, 0).activations, 4 * layer * (1 + (p - 1) / (p * v)) + backward);
}

TEST(Memory, ATeacherAddsItsWeightsOnly) {
    auto step = small_step();
    const plan::Layout l{1, 1, 1, 1, 1, Recompute::selective};
    const auto alone = whole(step, l, 0);
    step.teacher = small_model();

    const auto taught = whole(step, l, 0);

    EXPECT_DOUBLE_EQ(taught.weights, 2 * alone.weights);
    EXPECT_EQ(taught.gradients, alone.gradients);
    EXPECT_EQ(taught.optimizer, alone.optimizer);
}

}  // namespace
}  // namespace espalier::test
