#include "src/model/gguf_metadata.hpp"

#include <gmock/gmock.h>

#include <algorithm>

#include "src/model/foreign_tensor.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Gguf, RowsOfQueryAndKeyAreRotaryPairs) {
    const Architecture a = test::tiny_llama();  // head_dim 6
    const auto query = gguf_tensor(a, parameters(a)[2], Projections::apart);

    ASSERT_EQ(query.name, "blk.0.attn_q.weight");
    // Our rows 0 1 2 | 3 4 5 of a head stand in theirs as 0 3 | 1 4 | 2 5.
    EXPECT_EQ(foreign_row(query, 0), 0);
    EXPECT_EQ(foreign_row(query, 1), 2);
    EXPECT_EQ(foreign_row(query, 3), 1);
    EXPECT_EQ(foreign_row(query, 6 + 4), 6 + 3);
}

TEST(Gguf, RowsOfAQwenStandAsTheyAre) {
    for (const Architecture& a : {test::tiny_qwen2(), test::tiny_qwen3()}) {
        for (const auto& p : parameters(a))
            EXPECT_EQ(gguf_tensor(a, p, Projections::apart).interleaved_dim, 0) << p.name;
    }
    EXPECT_EQ(gguf_tensor(test::tiny_qwen2(), parameters(test::tiny_qwen2())[5], Projections::apart).name,
              "blk.0.attn_q.bias");
    const auto norm = gguf_tensor(test::tiny_qwen3(), parameters(test::tiny_qwen3())[5], Projections::apart);
    EXPECT_EQ(norm.name, "blk.0.attn_q_norm.weight");
    EXPECT_EQ(norm.shape, Shape{6});
}

TEST(Gguf, APhiMayHaveItsQueriesKeysAndValuesInOneTensor) {
    const Architecture a = test::tiny_phi();  // 4 heads on 2, of 8 dims, 20 channels
    const auto tensor = [&](Weight weight, Projections qkv) {
        const auto all = parameters(a);
        return gguf_tensor(
            a, *std::ranges::find_if(all, [&](const auto& p) { return p.weight == weight && p.layer == 1; }),
            qkv);
    };

    const auto key = tensor(Weight::key, Projections::fused),
               value = tensor(Weight::value_bias, Projections::fused);

    EXPECT_EQ(key.name, "blk.1.attn_qkv.weight");
    EXPECT_EQ(key.shape, (Shape{64, 20}));
    EXPECT_EQ(key.first_row, 32);
    EXPECT_EQ(value.name, "blk.1.attn_qkv.bias");
    EXPECT_EQ(value.shape, Shape{64});
    EXPECT_EQ(value.first_row, 48);
    EXPECT_EQ(tensor(Weight::key, Projections::apart).name, "blk.1.attn_k.weight");
    EXPECT_EQ(tensor(Weight::key, Projections::apart).first_row, 0);
}

TEST(Gguf, EndsOfTextTurnAndMessageAllEndAText) {
    json metadata{{"general.architecture", "llama"},
                  {"vocab_size", 128},
                  {"llama.embedding_length", 64},
                  {"llama.block_count", 3},
                  {"llama.attention.head_count", 4},
                  {"llama.feed_forward_length", 96},
                  {"llama.attention.layer_norm_rms_epsilon", double{1e-5f}},
                  {"llama.context_length", 256},
                  {"tokenizer.ggml.eos_token_id", 2}};

    EXPECT_THAT(from_gguf(metadata, {}, {}, "m.gguf").conventions.eos, ElementsAre(2));
    metadata["tokenizer.ggml.eot_token_id"] = 5;
    metadata["tokenizer.ggml.eom_token_id"] = 2;
    EXPECT_THAT(from_gguf(metadata, {}, {}, "m.gguf").conventions.eos, ElementsAre(2, 5));
    metadata["llama.block_count"] = 100000000000;
    EXPECT_THAT(
        [&] { from_gguf(metadata, {}, {}, "m.gguf"); },
        ThrowsMessage<UserError>(HasSubstr("\"llama.block_count\" is 100000000000; it must be 1 to")));
}

}  // namespace
}  // namespace espalier::model
