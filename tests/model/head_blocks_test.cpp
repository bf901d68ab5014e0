// The blocks of tokens and ids in which logits exist.
#include <gtest/gtest.h>

#include "src/model/head_blocks.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

TEST(HeadBlocks, OfLogitsThatAreKeptTakeLessThanAnEighthOfManyTokens) {
    Architecture a = test::tiny_llama();
    for (const int64_t vocab : {49'152, 256'000}) {
        a.vocab = vocab;
        for (const DType dtype : {DType::f32, DType::bf16}) {
            for (const int64_t tokens : {2048, 2049, 3000, 8192}) {
                SCOPED_TRACE(testing::Message() << vocab << " ids, " << tokens << " tokens");
                const auto blocks = head_blocks(a, Device::cpu, dtype, 1, tokens, HeadBlocks::Storage::kept);
                EXPECT_EQ(blocks.tokens.front().begin, 0);
                EXPECT_EQ(blocks.tokens.back().end, tokens);
                EXPECT_LT(8 * blocks.tokens.front().size(), tokens);
                // The gradient of a part in bf16.
                EXPECT_LE(2 * blocks.tokens.front().size() * div_ceil(vocab, blocks.parts), int64_t{4} << 20);
            }
        }
    }
}

TEST(HeadBlocks, OnAGpuTakeAtMostAGibibyteAtOnce) {
    Architecture a = test::tiny_llama();
    a.vocab = 128'256;
    const auto blocks = head_blocks(a, Device::cuda, DType::bf16, 1, 3000, HeadBlocks::Storage::kept);
    EXPECT_EQ(blocks.tokens, (std::vector<Range>{{0, 1500}, {1500, 3000}}));
    EXPECT_EQ(blocks.parts, 1);
}

TEST(HeadBlocks, OfLogitsThatAreComputedAgainTakeASmallPartOfAllLogits) {
    const auto blocks =
        head_blocks(test::tiny_llama(), Device::cpu, DType::f32, 1, 700, HeadBlocks::Storage::computed_again);
    EXPECT_EQ(blocks.tokens, (std::vector<Range>{{0, 350}, {350, 700}}));

    Architecture large = test::tiny_llama();
    large.vocab = 256'000;
    const auto of_large =
        head_blocks(large, Device::cpu, DType::f32, 1, 4096, HeadBlocks::Storage::computed_again);
    EXPECT_LE(of_large.tokens.front().size() * div_ceil(large.vocab, of_large.parts),
              4096 * large.vocab / 1024);
}

}  // namespace
}  // namespace espalier::model
