#include "src/model/hugging_face_class.hpp"

#include <gmock/gmock.h>

#include "src/model/hugging_face.hpp"
#include "src/model/loadable.hpp"
#include "tests/model/hugging_face_configs.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

using nlohmann::json;
using test::windows;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

Architecture loadable_llama() {
    Architecture a = test::tiny_llama();
    a.layers.assign(2, {9, 3, 17});
    a.hidden = 27;
    return a;
}

TEST(HuggingFaceClass, ALlamaThatTransformersRefusesGoesOutAsMistral) {
    Architecture a = test::tiny_llama();
    a.layers.assign(2, {9, 3, 17});

    EXPECT_EQ(loadable_family(a), Family::mistral);
    a.mlp_bias = true;
    EXPECT_THROW(loadable_family(a), UserError);
    a.hidden = 27;
    EXPECT_EQ(loadable_family(a), Family::llama);
}

TEST(HuggingFaceClass, ALlamaTurnsWholeHeads) {
    json config = to_hugging_face(loadable_llama(), "float32");
    config["partial_rotary_factor"] = 0.5;

    EXPECT_THAT([&] { from_hugging_face(config, "c"); },
                ThrowsMessage<UserError>(HasSubstr("\"partial_rotary_factor\" is 0.5")));
}

TEST(HuggingFaceClass, AGemma2LoadsWhereItsWidthIsAMultipleOfItsHeads) {
    Architecture a = test::tiny_gemma2();
    a.layers.assign(3, a.layers[0]);

    EXPECT_THAT([&] { loadable_family(a); },
                ThrowsMessage<UserError>(HasSubstr("no Gemma 2 whose hidden size 22")));
    a.hidden = 27;
    EXPECT_EQ(loadable_family(a), Family::gemma2);
}

TEST(HuggingFaceClass, AGemma2WithoutWindowsNamesOneThatHoldsAll) {
    Architecture a = test::tiny_gemma2();
    a.layers.assign(3, a.layers[1]);
    a.hidden = 27;

    const json config = to_hugging_face(a, "float32");

    EXPECT_EQ(config.at("sliding_window"), a.max_positions);
    EXPECT_THAT(windows(config), ElementsAre(0, 0, 0));
}

TEST(HuggingFaceClass, WhatItsClassesCannotSayIsRefusedAndAWindowMakesALlamaAMistral) {
    const Architecture llama = loadable_llama();
    Architecture a = llama;
    a.layers[0].window = a.layers[1].window = 8;
    EXPECT_EQ(loadable_family(a), Family::mistral);
    EXPECT_THAT(windows(to_hugging_face(a, "float32")), ElementsAre(8, 8));
    const auto refused = [&](const Architecture& with, const char* what) {
        EXPECT_THAT([&] { loadable_family(with); }, ThrowsMessage<UserError>(HasSubstr(what)));
    };

    a.layers[0].window = 0;
    refused(a, "a sliding window in some layers alone");
    a.layers[0].window = 8;
    a.mlp_bias = true;
    refused(a, "sliding window");
    for (const auto& [change, what] : std::initializer_list<std::pair<void (*)(Architecture&), const char*>>{
             {[](Architecture& x) { x.post_norms = true; }, "norms of another kind"},
             {[](Architecture& x) { x.embedding_scale = 2; }, "scaled embeddings"},
             {[](Architecture& x) { x.query_scalar = 7; }, "scores scaled otherwise"},
             {[](Architecture& x) { x.final_soft_cap = 30; }, "soft caps"},
             {[](Architecture& x) { x.attention_soft_cap = 50; }, "soft caps"}}) {
        a = llama;
        change(a);
        refused(a, what);
    }
    a = llama;
    a.qkv_bias = true;
    refused(a, "attention biases");
    a = llama;
    a.rotary_dim = a.head_dim - 2;
    refused(a, "turned");
    a = llama;
    a.activation = Activation::relu2;
    refused(a, "activation");
    a = llama;
    a.norm.kind = NormKind::layer;
    refused(a, "norms");
    a = llama;
    a.family = Family::mistral;
    a.mlp_bias = true;
    refused(a, "biases");
    a = llama;
    a.family = Family::qwen2;
    refused(a, "no Qwen2ForCausalLM with other attention biases");
    a.qkv_bias = true;
    EXPECT_EQ(loadable_family(a), Family::qwen2);
    a.layers[1].window = 8;
    EXPECT_EQ(from_hugging_face(to_hugging_face(a, "float32"), "c"), a);
    a.layers[0].window = 4;
    refused(a, "sliding windows of different lengths");
    a.layers[0].window = 0;
    a.mlp_bias = true;
    refused(a, "biases in the MLP");
    a = llama;
    a.qk_norm_eps = a.norm.eps;
    refused(a, "no LlamaForCausalLM with normed queries and keys");
    a.family = Family::qwen3;
    EXPECT_EQ(loadable_family(a), Family::qwen3);
    a.hidden = 22;  // over 9 heads
    EXPECT_EQ(loadable_family(a), Family::qwen3);
    a.qk_norm_eps = 2 * a.norm.eps;
    refused(a, "not normed as the rest");
}

}  // namespace
}  // namespace espalier::model
