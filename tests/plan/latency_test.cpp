#include "src/plan/latency.hpp"

#include <gtest/gtest.h>

#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

// A layer of small_model() has products with 128 (query, key, value), 64 (out), 256 (up), 256 (down) weights,
// the head one with 128; a token leaves 2 x 2 x 2 = 8 keys and values in a layer.

TEST(Latency, OneSequenceTakesTheReadingOfWeightsAndCache) {
    const double bytes = 2 * (4 * 704 + 128) + 4 * 2 * 16 * 8;

    EXPECT_NEAR(plan::seconds_per_token(round_system(), small_model(), {1, 16, 1, DType::bf16}), bytes / 1e12,
                1e-18);
}

TEST(Latency, ManySequencesTakeTheFlopsOfProducts) {
    const double flops = 1000 * 2 * (4 * 704 + 128), cache = 1000 * 4 * 2 * 16 * 8;

    EXPECT_NEAR(plan::seconds_per_token(round_system(), small_model(), {1000, 16, 1, DType::bf16}),
                flops / 1e12 + cache / 1e12, 1e-15);
}

TEST(Latency, RanksShareTheWeightsAndSumTwiceInALayer) {
    const double bytes = 2 * (4 * 704 + 128) + 4 * 2 * 16 * 8,
                 // 8 x 2 bytes: 2 x 1/2 x 16 / 1e9 + 2 x 1e-6
        sums = 4 * 2 * (16e-9 + 2e-6);

    EXPECT_NEAR(plan::seconds_per_token(round_system(), small_model(), {1, 16, 2, DType::bf16}),
                bytes / 2 / 1e12 + sums, 1e-12);
}

TEST(Latency, AParallelBlockSumsOnceInALayer) {
    auto side_by_side = small_model();
    side_by_side.parallel_block = true;
    const plan::Serving two{1, 16, 2, DType::bf16};

    EXPECT_NEAR(plan::seconds_per_token(round_system(), small_model(), two) -
                    plan::seconds_per_token(round_system(), side_by_side, two),
                4 * (16e-9 + 2e-6), 1e-12);
}

TEST(Latency, AWindowBoundsWhatAttentionReads) {
    auto a = small_model();
    for (auto& l : a.layers) l.window = 4;

    const auto system = round_system();
    EXPECT_EQ(plan::seconds_per_token(system, a, {1, 16, 1, DType::bf16}),
              plan::seconds_per_token(system, a, {1, 4, 1, DType::bf16}));
}

}  // namespace
}  // namespace espalier::test
