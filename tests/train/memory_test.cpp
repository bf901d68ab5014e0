// The bytes that a training step is predicted to hold: against sums by hand, and against what is there.
#include "src/train/memory.hpp"

#include <gtest/gtest.h>

#include "tests/model/tiny_models.hpp"

namespace espalier::train {
namespace {

using model::Recompute;

/// Micro-batches of 2 sequences of 8 tokens in f32, of which bytes per kind are: [T, H] 512; qkv 2048; heads
/// 1024; before the activation 2048, after it 1024; lse 256; statistics of a norm 128.
model::Architecture small() {
    model::Architecture a;
    a.vocab = 32;
    a.hidden = 8;
    a.head_dim = 4;
    a.layers.assign(4, {.query_heads = 4, .kv_heads = 2, .ffn = 16});
    return a;
}
StepShape step(Recompute recompute = Recompute::selective) {
    return {{}, 3, 2, 8, DType::f32, recompute};
}
StepShape stage_of_two(int stage) {
    StepShape out = step();
    out.pipeline = {2, stage, 1};
    return out;
}

model::Placement layers(int64_t begin, int64_t end) {
    model::Placement out;
    out.virtual_stages = {{begin, end}};
    return out;
}

TEST(Memory, OfALayerIsWhatItSaves) {
    const auto a = small();

    EXPECT_EQ(saved_bytes(a, 0, {}, step()), 2 * 512 + 2 * 128 + 2048 + 1024 + 256 + 2048);
    EXPECT_EQ(saved_bytes(a, 0, {}, step(Recompute::none)), 6656 + 2 * 512 + 1024);
    EXPECT_EQ(saved_bytes(a, 0, {}, step(Recompute::full)), 512);
}

TEST(Memory, OfALayerThatNormsItsHeadsIsTheirProjectionAndWhatIsKeptOfTheNorms) {
    auto a = small();
    a.qk_norm_eps = 1e-6f;
    const int64_t rstd = 16 * (4 + 2) * 4, backward = backward_bytes(small(), 0, {}, step());

    EXPECT_EQ(saved_bytes(a, 0, {}, step()), 6656);
    EXPECT_EQ(saved_bytes(a, 0, {}, step(Recompute::none)), 6656 + 2 * 512 + 1024 + 2048 + rstd);
    EXPECT_EQ(backward_bytes(a, 0, {}, step()), backward + 2048 + rstd);
}

TEST(Memory, OfALayerIsSplitButForGatheredInputs) {
    const auto a = small();

    EXPECT_EQ(saved_bytes(a, 0, {2, 0}, step()), 6656 / 2);
    EXPECT_EQ(saved_bytes(a, 0, {2, 0}, step(Recompute::none)), 3328 + 2 * 512 + 512);
    EXPECT_EQ(saved_bytes(a, 0, {2, 1}, step(Recompute::full)), 256);
}

int64_t bytes(const model::SavedLayer& s) {
    int64_t sum = 0;
    for (const Tensor* t :
         {&s.x, &s.attention.norm_stats, &s.attention.input, &s.attention.put_out, &s.attention.post_stats,
          &s.attention.projected, &s.attention.qk_rstd, &s.attention.qkv, &s.attention.attended,
          &s.attention.lse, &s.after_attention, &s.mlp.norm_stats, &s.mlp.input, &s.mlp.put_out,
          &s.mlp.post_stats, &s.mlp.up, &s.mlp.activated}) {
        if (*t) sum += static_cast<int64_t>(t->bytes());
    }
    return sum;
}

TEST(Memory, OfALayerIsWhatAForwardPassLeaves) {
    for (const auto& a : {test::tiny_llama(), test::tiny_nemotron(), test::tiny_qwen3(), test::tiny_gemma2(),
                          test::tiny_phi()}) {
        for (const auto recompute : {Recompute::none, Recompute::selective, Recompute::full}) {
            Context ctx({Device::cpu, 1});
            model::Transformer model(ctx, a, comm::Topology{}, DType::f32, model::Gradients::none);
            const auto batch = model::make_batch(ctx, test::random_ids(18, a.vocab, 1), 2, 9);
            model::SavedStage saved;
            saved.recompute = recompute;
            const StepShape shape{{}, 1, 2, 9, DType::f32, recompute};

            model.forward(ctx, model.embed(ctx, batch), batch, &saved);

            for (int64_t i = 0; i < a.depth(); ++i)
                EXPECT_EQ(saved_bytes(a, i, {}, shape), bytes(saved.layers[static_cast<size_t>(i)]));
        }
    }
}

TEST(Memory, OfAStageGrowsWithMicroBatchesInFlight) {
    const auto a = small();
    const auto all = layers(0, 4), first = layers(0, 2), last = layers(2, 4);
    const int64_t layer = (3 + 2) * 512 + 2 * 1024 + 2048 + 1024 + 2048, messages = 3 * 512;

    EXPECT_EQ(activation_bytes(a, all, step()), 4 * 6656 + layer);
    EXPECT_EQ(activation_bytes(a, first, stage_of_two(0)), 2 * 2 * 6656 + layer + messages);
    EXPECT_EQ(activation_bytes(a, last, stage_of_two(1)), 2 * 6656 + layer + messages);
}

TEST(Memory, OfALossInsideAStageIsCountedByMicroBatchesInFlight) {
    StepShape interleaved = step();
    interleaved.pipeline = {2, 0, 2};
    interleaved.micro_batches = 4;

    EXPECT_EQ(most_in_flight(step(), 0), 1);
    EXPECT_EQ(most_in_flight(stage_of_two(0), 0), 2);
    EXPECT_EQ(most_in_flight(stage_of_two(1), 0), 1);
    EXPECT_EQ(most_in_flight(interleaved, 0), 4);
    EXPECT_EQ(most_in_flight(interleaved, 1), 2);
}

TEST(Memory, OfRecomputedLayersIsThatOfOneAtATime) {
    const int64_t layer = (3 + 2) * 512 + 1024 + 2048 + 1024 + 2048;

    EXPECT_EQ(activation_bytes(small(), layers(0, 4), step(Recompute::full)), 4 * 512 + 8704 + layer);
}

TEST(Memory, OfTheHeadIsABlocksLogitsAndTheHiddenStates) {
    StepShape half = step();
    half.dtype = DType::bf16;

    EXPECT_EQ(head_bytes(small(), {}, step(), 2), 16 * 32 * 4 * 2 + 3 * 512);
    EXPECT_EQ(head_bytes(small(), {}, half, 1), 16 * 32 * (4 + 2) + 3 * 256);
    EXPECT_EQ(head_bytes(small(), {2, 0}, step(), 1), 16 * 16 * 4 + 2 * 512 + 256);
}

TEST(Memory, OfATeacherIsOneLayerAndTheStatesThatWait) {
    const int64_t layer = (2 + 3) * 512 + 2048 + 1024 + 2048 + 1024 + 256;

    EXPECT_EQ(teacher_pass_bytes(small(), layers(0, 4), step(), 4), layer + 4 * 512);
}

}  // namespace
}  // namespace espalier::train
