#include "src/model/hugging_face.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "src/model/foreign_tensor.hpp"
#include "tests/model/hugging_face_configs.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

using nlohmann::json;
using test::gemma2_config;
using test::llama_config;
using test::phi_config;
using test::qwen2_config;
using test::windows;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Families, AMistralThatNamesNoWindowHas4096AndOneWithNullHasNone) {
    json config = llama_config();
    config["architectures"] = {"MistralForCausalLM"};
    config["max_position_embeddings"] = 32768;

    EXPECT_THAT(windows(config), ElementsAre(4096, 4096, 4096));
    config["sliding_window"] = nullptr;
    EXPECT_THAT(windows(config), ElementsAre(0, 0, 0));
    config["sliding_window"] = 512;
    EXPECT_THAT(windows(config), ElementsAre(512, 512, 512));
}

TEST(Families, AQwen2HasBiasesBeforeItsHeadsWhateverTheFileSays) {
    json config = qwen2_config();
    config.erase("rms_norm_eps");
    config.erase("max_position_embeddings");
    config["attention_bias"] = false;
    config["mlp_bias"] = true;

    const Architecture a = from_hugging_face(config, "c");

    EXPECT_EQ(a.family, Family::qwen2);
    EXPECT_TRUE(a.qkv_bias);
    EXPECT_FALSE(a.attention_out_bias || a.mlp_bias || a.tied);
    EXPECT_EQ(a.norm.eps, 1e-6f);
    EXPECT_EQ(a.max_positions, 32768);
}

TEST(Families, AQwen3NormsItsHeadsWhichHave128DimsWhereTheFileSaysNothing) {
    json config = qwen2_config();
    config["architectures"] = {"Qwen3ForCausalLM"};

    const Architecture a = from_hugging_face(config, "c");

    EXPECT_EQ(a.family, Family::qwen3);
    EXPECT_EQ(a.head_dim, 128);
    EXPECT_EQ(a.qk_norm_eps, 1e-5f);
    EXPECT_FALSE(a.qkv_bias || a.attention_out_bias);
    config["head_dim"] = 24;
    config["attention_bias"] = true;
    EXPECT_EQ(from_hugging_face(config, "c").head_dim, 24);
    EXPECT_TRUE(from_hugging_face(config, "c").qkv_bias && from_hugging_face(config, "c").attention_out_bias);
}

TEST(Families, AQwensWindowCountsWhereItIsUsedAndForTheLayersThatHaveIt) {
    const auto window = [](const json& fields) {
        json config = qwen2_config();
        config.update(fields);
        return windows(config);
    };
    const auto none = ElementsAre(0, 0, 0);
    const json used{{"use_sliding_window", true}, {"sliding_window", 16}};
    const auto with = [&](json fields) {
        fields.update(used);
        return fields;
    };
    const auto refused = [&](const json& fields, const char* what) {
        EXPECT_THAT([&] { window(fields); },
                    ThrowsMessage<UserError>(AllOf(HasSubstr("c.json"), HasSubstr(what))));
    };
    const char* const full = "full_attention";
    const char* const sliding = "sliding_attention";

    EXPECT_THAT(window({{"sliding_window", 16}, {"max_window_layers", 0}}), none);
    EXPECT_THAT(window({{"sliding_window", 16}, {"max_window_layers", 0}, {"use_sliding_window", nullptr}}),
                none);
    EXPECT_THAT(window(with({})), none);  // the first 28 layers have none
    EXPECT_THAT(window(with({{"max_window_layers", 0}})), ElementsAre(16, 16, 16));
    EXPECT_THAT(window(with({{"max_window_layers", 1}})), ElementsAre(0, 16, 16));
    EXPECT_THAT(window(with({{"layer_types", {sliding, sliding, sliding}}})), ElementsAre(16, 16, 16));
    EXPECT_THAT(window(with({{"layer_types", {full, sliding, full}}})), ElementsAre(0, 16, 0));
    EXPECT_THAT(window(with({{"layer_types", {full, full, full}}, {"max_window_layers", 0}})), none);
    EXPECT_THAT(window(with({{"max_window_layers", 1}, {"max_position_embeddings", 16}})), none);
    refused({{"sliding_window", 16}, {"layer_types", {full, sliding, full}}},
            "\"use_sliding_window\" is not set");
    refused(with({{"layer_types", {full, full}}}), "2 entries for 3 layers");
    refused(with({{"layer_types", {full, full, "chunked_attention"}}}), "chunked_attention");
    refused({{"layer_types", {full, sliding, full}}}, "use_sliding_window");
}

TEST(Families, AGemma2HasWhatItsClassTakesForGranted) {
    json config = gemma2_config();
    config["max_position_embeddings"] = 32768;

    const Architecture a = from_hugging_face(config, "c.json");

    EXPECT_TRUE(a.tied && a.post_norms);
    EXPECT_EQ(a.norm.kind, NormKind::rms);
    EXPECT_EQ(a.norm.gain, Gain::one_plus_weight);
    EXPECT_EQ(a.activation, Activation::geglu);
    EXPECT_EQ(a.embedding_scale, std::sqrt(static_cast<double>(a.hidden)));
    EXPECT_EQ(a.query_scalar, 256);
    EXPECT_EQ(a.head_dim, 256);
    EXPECT_EQ(a.attention_soft_cap, 50);
    EXPECT_EQ(a.final_soft_cap, 30);
    EXPECT_THAT(windows(config), ElementsAre(4096, 0, 4096));

    config["attn_logit_softcapping"] = config["final_logit_softcapping"] = nullptr;
    config["layer_types"] = {"full_attention", "full_attention", "sliding_attention"};
    EXPECT_EQ(from_hugging_face(config, "c.json").attention_soft_cap, 0);
    EXPECT_EQ(from_hugging_face(config, "c.json").final_soft_cap, 0);
    EXPECT_THAT(windows(config), ElementsAre(0, 0, 4096));
    config["use_bidirectional_attention"] = true;
    EXPECT_THAT([&] { from_hugging_face(config, "c.json"); }, ThrowsMessage<UserError>(HasSubstr("causal")));
}

TEST(Families, APhiHasOneNormABlockAndBiasesEverywhere) {
    json config = phi_config();

    const Architecture a = from_hugging_face(config, "c.json");

    EXPECT_TRUE(a.parallel_block && a.head_bias && a.qkv_bias && a.attention_out_bias && a.mlp_bias);
    EXPECT_FALSE(a.tied);
    EXPECT_EQ(a.activation, Activation::gelu);
    EXPECT_TRUE(a.norm_bias);
    EXPECT_EQ(a.norm, (NormOptions{NormKind::layer, Gain::weight, 1e-5f}));
    EXPECT_EQ(a.head_dim, 16);
    EXPECT_EQ(a.rotary_dim, 8);
    config["partial_rotary_factor"] = 0.4;  // of phi-2: 6.4 of 16
    config["layer_norm_eps"] = 1e-6;
    EXPECT_EQ(from_hugging_face(config, "c.json").rotary_dim, 6);
    EXPECT_EQ(from_hugging_face(config, "c.json").norm.eps, 1e-6f);
    config["qk_layernorm"] = true;
    EXPECT_THAT([&] { from_hugging_face(config, "c.json"); },
                ThrowsMessage<UserError>(AllOf(HasSubstr("c.json"), HasSubstr("qk_layernorm"))));
}

TEST(Families, APhisTensorsHaveTheirNames) {
    const Architecture a = from_hugging_face(phi_config(), "c.json");
    std::vector<std::string> names;
    for (const Parameter& p : parameters(a)) {
        if (p.layer <= 0) names.push_back(hugging_face_tensor(a, p).name);
    }

    const std::string layer = "model.layers.0.", attention = layer + "self_attn.";
    EXPECT_THAT(
        names,
        ElementsAre("model.embed_tokens.weight", layer + "input_layernorm.weight",
                    layer + "input_layernorm.bias", attention + "q_proj.weight", attention + "k_proj.weight",
                    attention + "v_proj.weight", attention + "q_proj.bias", attention + "k_proj.bias",
                    attention + "v_proj.bias", attention + "dense.weight", attention + "dense.bias",
                    layer + "mlp.fc1.weight", layer + "mlp.fc1.bias", layer + "mlp.fc2.weight",
                    layer + "mlp.fc2.bias", "model.final_layernorm.weight", "model.final_layernorm.bias",
                    "lm_head.weight", "lm_head.bias"));
}

TEST(Families, AGemmasGeluIsTheTanhForm) {
    json config = gemma2_config();
    config["architectures"] = {"GemmaForCausalLM"};
    config["hidden_act"] = "gelu";

    const Architecture a = from_hugging_face(config, "c");

    EXPECT_EQ(a.activation, Activation::geglu);
    EXPECT_FALSE(a.post_norms || a.query_scalar > 0 || a.final_soft_cap > 0);
    config["hidden_activation"] = "silu";
    EXPECT_EQ(from_hugging_face(config, "c").activation, Activation::swiglu);
}

/// transformers takes the scalar to the power of -1/2.
TEST(Families, AGemma2sQueryScalarIsNeverZeroInAConfig) {
    json config = gemma2_config();
    config["query_pre_attn_scalar"] = 0;
    EXPECT_THROW(from_hugging_face(config, "c"), UserError);

    Architecture a = from_hugging_face(gemma2_config(), "c");
    a.query_scalar = 0;
    EXPECT_EQ(to_hugging_face(a, "float32").at("query_pre_attn_scalar"), a.head_dim);
}

/// What joins the residual stream in the file, of what joins ours.
TEST(Families, AGemmaOfAnotherWidthThanItsEmbeddingsScaleIsStoredForTheScaleOfItsWidth) {
    Architecture a = test::tiny_gemma2();
    a.hidden = 36;  // 6^2
    a.embedding_scale = 8;
    const auto factor = [&](Weight weight) {
        const auto all = parameters(a);
        const auto found =
            std::find_if(all.begin(), all.end(), [&](const Parameter& p) { return p.weight == weight; });
        const ForeignTensor t = hugging_face_tensor(a, *found);
        return std::pair(t.factor, t.added);
    };

    EXPECT_EQ(factor(Weight::attention_post_norm), std::pair(0.75, -0.25));
    EXPECT_EQ(factor(Weight::mlp_post_norm), std::pair(0.75, -0.25));
    EXPECT_EQ(factor(Weight::down), std::pair(1.0, 0.0));
    EXPECT_EQ(factor(Weight::final_norm), std::pair(1.0, 0.0));
    a.family = Family::gemma;
    a.post_norms = false;
    EXPECT_EQ(factor(Weight::attention_out), std::pair(0.75, 0.0));
    EXPECT_EQ(factor(Weight::down), std::pair(0.75, 0.0));
    a.embedding_scale = 6;
    EXPECT_EQ(factor(Weight::down), std::pair(1.0, 0.0));
}

}  // namespace
}  // namespace espalier::model
