#include "src/model/hugging_face.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "src/model/architecture_json.hpp"
#include "src/model/foreign_tensor.hpp"
#include "src/model/gguf_metadata.hpp"
#include "src/model/hugging_face_class.hpp"
#include "src/model/rotary_table.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

json llama_config() {
    return {{"architectures", {"LlamaForCausalLM"}},
            {"vocab_size", 128},
            {"hidden_size", 64},
            {"intermediate_size", 96},
            {"num_hidden_layers", 3},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2},
            {"rms_norm_eps", 1e-5},
            {"max_position_embeddings", 256}};
}

Architecture loadable_llama() {
    Architecture a = test::tiny_llama();
    a.layers.assign(2, {9, 3, 17});
    a.hidden = 27;
    return a;
}

TEST(HuggingFace, HeadDimIsWhatTheConfigSaysAndOnlyElseHiddenOverHeads) {
    json config = llama_config();

    EXPECT_EQ(from_hugging_face(config, "c").head_dim, 16);
    config["head_dim"] = 24;
    EXPECT_EQ(from_hugging_face(config, "c").head_dim, 24);
}

TEST(HuggingFace, BothSpellingsOfRotaryScalingMeanTheSame) {
    json v4 = llama_config(), v5 = llama_config();
    v4["rope_theta"] = 5e5;
    v4["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 8192}};
    v5["rope_parameters"] = v4["rope_scaling"];
    v5["rope_parameters"]["rope_theta"] = 5e5;

    EXPECT_EQ(from_hugging_face(v4, "c"), from_hugging_face(v5, "c"));
    EXPECT_EQ(from_hugging_face(v4, "c").rotary_scaling.kind, RotaryScaling::Kind::llama3);

    // As transformers 5.23 looks for it.
    v5["rope_parameters"].erase("original_max_position_embeddings");
    v5["max_position_embeddings"] = 300;
    EXPECT_EQ(from_hugging_face(v5, "c").rotary_scaling.original_positions, 300);
    v5["original_max_position_embeddings"] = 200;
    EXPECT_EQ(from_hugging_face(v5, "c").rotary_scaling.original_positions, 200);
}

TEST(HuggingFace, YarnTakesWhatTheFileLeavesOutFromThePaper) {
    json config = llama_config();
    config["max_position_embeddings"] = 4096;
    config["rope_scaling"] = {{"type", "yarn"}, {"original_max_position_embeddings", 1024}};
    const auto read = [&] { return from_hugging_face(config, "c").rotary_scaling; };

    EXPECT_EQ(read().kind, RotaryScaling::Kind::yarn);
    EXPECT_EQ(read().factor, 4);
    EXPECT_EQ(read().original_positions, 1024);
    EXPECT_EQ(read().attention_factor, 0.1 * std::log(4.0) + 1);
    EXPECT_EQ(from_hugging_face(to_hugging_face(from_hugging_face(config, "c"), "float32"), "c"),
              from_hugging_face(config, "c"));
    config["rope_scaling"]["mscale"] = 2;
    config["rope_scaling"]["mscale_all_dim"] = 0.5;
    EXPECT_EQ(read().attention_factor, (0.2 * std::log(4.0) + 1) / (0.05 * std::log(4.0) + 1));
    config["rope_scaling"]["attention_factor"] = 1.5;
    EXPECT_EQ(read().attention_factor, 1.5);
    EXPECT_EQ(architecture_from_json(json::parse(to_json(from_hugging_face(config, "c")).dump()), "c")
                  .rotary_scaling,
              read());
}

TEST(HuggingFace, WhatIsUnsupportedIsNamed) {
    json config = llama_config();
    config["architectures"] = {"MambaForCausalLM"};
    EXPECT_THROW(from_hugging_face(config, "c"), UserError);

    config = llama_config();
    config["rope_scaling"] = {{"rope_type", "longrope"}, {"factor", 4.0}};
    try {
        from_hugging_face(config, "c.json");
        FAIL() << "longrope was accepted";
    } catch (const UserError& e) {
        EXPECT_NE(std::string(e.what()).find("longrope"), std::string::npos);
        EXPECT_NE(std::string(e.what()).find("c.json"), std::string::npos);
    }
}

TEST(HuggingFace, ConfigsSurviveTheRoundTrip) {
    for (Architecture a : {test::tiny_llama(), test::tiny_nemotron(true), test::tiny_qwen2(),
                           test::tiny_qwen3(), test::tiny_qwen3(true), test::tiny_gemma2()}) {
        a.layers.assign(a.layers.size(), a.layers[0]);
        if (is_gemma(a.family)) {
            a.hidden = 27;
            a.embedding_scale = std::sqrt(27.0);
            a.layers[1].window = 0;
        }
        a.family = a.family == Family::llama ? Family::mistral : a.family;  // 22 channels over 9 heads

        EXPECT_EQ(from_hugging_face(json::parse(to_hugging_face(a, "float32").dump()), "c"), a);
        EXPECT_EQ(architecture_from_json(json::parse(to_json(a).dump()), "c"), a);
    }
}

std::vector<int64_t> windows(const json& config) {
    std::vector<int64_t> out;
    for (const LayerShape& l : from_hugging_face(config, "c.json").layers) out.push_back(l.window);
    return out;
}

TEST(HuggingFace, AMistralThatNamesNoWindowHas4096AndOneWithNullHasNone) {
    json config = llama_config();
    config["architectures"] = {"MistralForCausalLM"};
    config["max_position_embeddings"] = 32768;

    EXPECT_THAT(windows(config), ElementsAre(4096, 4096, 4096));
    config["sliding_window"] = nullptr;
    EXPECT_THAT(windows(config), ElementsAre(0, 0, 0));
    config["sliding_window"] = 512;
    EXPECT_THAT(windows(config), ElementsAre(512, 512, 512));
}

json qwen2_config() {
    json config = llama_config();
    config["architectures"] = {"Qwen2ForCausalLM"};
    return config;
}

TEST(HuggingFace, AQwen2HasBiasesBeforeItsHeadsWhateverTheFileSays) {
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

TEST(HuggingFace, AQwen3NormsItsHeadsWhichHave128DimsWhereTheFileSaysNothing) {
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

TEST(HuggingFace, AQwensWindowCountsWhereItIsUsedAndForTheLayersThatHaveIt) {
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

TEST(HuggingFace, NumbersThatNoModelCanHaveAreRefused) {
    const auto refused = [](const char* field, const json& value) {
        json config = llama_config();
        config["architectures"] = {"MistralForCausalLM"};
        config[field] = value;
        EXPECT_THAT([&] { architecture_from_json(config, "c.json"); },
                    ThrowsMessage<UserError>(
                        AllOf(HasSubstr("c.json"), HasSubstr(field), HasSubstr("is " + value.dump()))))
            << value;
    };
    refused("sliding_window", 0);
    refused("sliding_window", -7);
    refused("num_hidden_layers", 0);
    refused("num_hidden_layers", 100000000000);
    refused("initializer_range", -0.5);
    refused("eos_token_id", "two");
}

TEST(HuggingFace, EveryEndOfTextIsKeptAndASingleOneStaysANumber) {
    json config = llama_config();
    const auto again = [](const json& written) { return json::parse(written.dump()); };
    for (const json& ends : {json(2), json{2, 5}, json(nullptr)}) {
        config["eos_token_id"] = ends;

        const Architecture a = from_hugging_face(config, "c");

        EXPECT_EQ(again(to_hugging_face(a, "float32")).at("eos_token_id"), ends);
        EXPECT_EQ(again(to_json(a)).at("eos"), ends);
        EXPECT_EQ(architecture_from_json(again(to_json(a)), "c").conventions.eos, a.conventions.eos);
    }
    EXPECT_THAT(from_hugging_face(config, "c").conventions.eos, IsEmpty());
    config["eos_token_id"] = {2, 5};
    EXPECT_THAT(from_hugging_face(config, "c").conventions.eos, ElementsAre(2, 5));
}

TEST(HuggingFace, NumbersComeBackWithTheDigitsTheyHad) {
    json config = llama_config();
    config["rms_norm_eps"] = 1e-5;
    config["rope_theta"] = 123456.7;
    config["initializer_range"] = 0.0134;
    const Architecture a = from_hugging_face(config, "c");

    EXPECT_THAT(to_hugging_face(a, "float32").dump(),
                AllOf(HasSubstr(R"("rms_norm_eps":1e-05,)"), HasSubstr(R"("rope_theta":123456.7,)"),
                      HasSubstr(R"("initializer_range":0.0134,)")));
    EXPECT_THAT(to_json(a).dump(), AllOf(HasSubstr(R"("norm_eps":1e-05,)"), HasSubstr(R"(:123456.7,)")));
}

TEST(HuggingFace, TheRotaryFractionOfACutHeadGivesItsDimsBack) {
    Architecture a = test::tiny_nemotron();
    for (a.head_dim = 2; a.head_dim <= 256; ++a.head_dim) {
        for (a.rotary_dim = 0; a.rotary_dim <= a.head_dim; a.rotary_dim += 2) {
            const json config = to_hugging_face(a, "float32");
            ASSERT_EQ(from_hugging_face(config, "c").rotary_dim, a.rotary_dim) << a.head_dim;
        }
    }
}

json gemma2_config() {
    json config = llama_config();
    config["architectures"] = {"Gemma2ForCausalLM"};
    return config;
}

TEST(HuggingFace, AGemma2HasWhatItsClassTakesForGranted) {
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

TEST(HuggingFace, AGemmasGeluIsTheTanhForm) {
    json config = gemma2_config();
    config["architectures"] = {"GemmaForCausalLM"};
    config["hidden_act"] = "gelu";

    const Architecture a = from_hugging_face(config, "c");

    EXPECT_EQ(a.activation, Activation::geglu);
    EXPECT_FALSE(a.post_norms || a.query_scalar > 0 || a.final_soft_cap > 0);
    config["hidden_activation"] = "silu";
    EXPECT_EQ(from_hugging_face(config, "c").activation, Activation::swiglu);
}

/// What joins the residual stream in the file, of what joins ours.
TEST(HuggingFace, AGemmaOfAnotherWidthThanItsEmbeddingsScaleIsStoredForTheScaleOfItsWidth) {
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

TEST(HuggingFace, AGemma2LoadsWhereItsWidthIsAMultipleOfItsHeads) {
    Architecture a = test::tiny_gemma2();
    a.layers.assign(3, a.layers[0]);

    EXPECT_THAT([&] { loadable_family(a); },
                ThrowsMessage<UserError>(HasSubstr("no Gemma 2 whose hidden size 22")));
    a.hidden = 27;
    EXPECT_EQ(loadable_family(a), Family::gemma2);
}

TEST(HuggingFace, WidthsThatDifferByLayerSurviveInOurSpellingAndAreRefusedInTheirs) {
    const Architecture a = test::tiny_llama();

    EXPECT_EQ(architecture_from_json(json::parse(to_json(a).dump()), "c"), a);
    EXPECT_THROW(to_hugging_face(a, "float32"), UserError);
}

TEST(HuggingFace, ALlamaThatTransformersRefusesGoesOutAsMistral) {
    Architecture a = test::tiny_llama();
    a.layers.assign(2, {9, 3, 17});

    EXPECT_EQ(loadable_family(a), Family::mistral);
    a.mlp_bias = true;
    EXPECT_THROW(loadable_family(a), UserError);
    a.hidden = 27;
    EXPECT_EQ(loadable_family(a), Family::llama);
}

TEST(HuggingFace, ALlamaTurnsWholeHeads) {
    json config = to_hugging_face(loadable_llama(), "float32");
    config["partial_rotary_factor"] = 0.5;

    EXPECT_THAT([&] { from_hugging_face(config, "c"); },
                ThrowsMessage<UserError>(HasSubstr("\"partial_rotary_factor\" is 0.5")));
}

TEST(HuggingFace, WhatItsClassesCannotSayIsRefusedAndAWindowMakesALlamaAMistral) {
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

TEST(Gguf, RowsOfQueryAndKeyAreRotaryPairs) {
    const Architecture a = test::tiny_llama();  // head_dim 6
    const auto query = gguf_tensor(a, parameters(a)[2]);

    ASSERT_EQ(query.name, "blk.0.attn_q.weight");
    // Our rows 0 1 2 | 3 4 5 of a head stand in theirs as 0 3 | 1 4 | 2 5.
    EXPECT_EQ(foreign_row(query, 0), 0);
    EXPECT_EQ(foreign_row(query, 1), 2);
    EXPECT_EQ(foreign_row(query, 3), 1);
    EXPECT_EQ(foreign_row(query, 6 + 4), 6 + 3);
}

TEST(Gguf, RowsOfAQwenStandAsTheyAre) {
    for (const Architecture& a : {test::tiny_qwen2(), test::tiny_qwen3()}) {
        for (const auto& p : parameters(a)) EXPECT_EQ(gguf_tensor(a, p).interleaved_dim, 0) << p.name;
    }
    EXPECT_EQ(gguf_tensor(test::tiny_qwen2(), parameters(test::tiny_qwen2())[5]).name, "blk.0.attn_q.bias");
    const auto norm = gguf_tensor(test::tiny_qwen3(), parameters(test::tiny_qwen3())[5]);
    EXPECT_EQ(norm.name, "blk.0.attn_q_norm.weight");
    EXPECT_EQ(norm.shape, Shape{6});
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

TEST(Rotary, Llama3KeepsShortWavelengthsAndStretchesLongOnes) {
    Architecture a = test::tiny_llama();
    a.head_dim = a.rotary_dim = 128;
    a.rotary_base = 5e5;
    const auto plain = rotary_frequencies(a);
    a.rotary_scaling = {RotaryScaling::Kind::llama3, 8, 1, 4, 8192};
    const auto scaled = rotary_frequencies(a);

    EXPECT_EQ(scaled.front(), plain.front());
    EXPECT_DOUBLE_EQ(scaled.back(), plain.back() / 8);
    for (size_t i = 0; i < plain.size(); ++i) {
        EXPECT_LE(scaled[i], plain[i]);
        EXPECT_GE(scaled[i], plain[i] / 8);
    }
}

}  // namespace
}  // namespace espalier::model
