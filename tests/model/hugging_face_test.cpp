#include "src/model/hugging_face.hpp"

#include <gmock/gmock.h>

#include "src/model/architecture_json.hpp"
#include "src/model/foreign_tensor.hpp"
#include "src/model/gguf_metadata.hpp"
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

TEST(HuggingFace, WhatIsUnsupportedIsNamed) {
    json config = llama_config();
    config["architectures"] = {"MambaForCausalLM"};
    EXPECT_THROW(from_hugging_face(config, "c"), UserError);

    config = llama_config();
    config["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
    try {
        from_hugging_face(config, "c.json");
        FAIL() << "yarn was accepted";
    } catch (const UserError& e) {
        EXPECT_NE(std::string(e.what()).find("yarn"), std::string::npos);
        EXPECT_NE(std::string(e.what()).find("c.json"), std::string::npos);
    }
}

TEST(HuggingFace, ConfigsSurviveTheRoundTrip) {
    for (Architecture a : {test::tiny_llama(), test::tiny_nemotron(true), test::tiny_qwen2(),
                           test::tiny_qwen3(), test::tiny_qwen3(true)}) {
        a.layers.assign(a.layers.size(), a.layers[0]);
        a.family = a.family == Family::llama ? Family::mistral : a.family;  // 22 channels over 9 heads

        EXPECT_EQ(from_hugging_face(json::parse(to_hugging_face(a, "float32").dump()), "c"), a);
        EXPECT_EQ(architecture_from_json(json::parse(to_json(a).dump()), "c"), a);
    }
}

TEST(HuggingFace, AMistralThatNamesNoWindowHas4096AndOneWithNullHasNone) {
    json config = llama_config();
    config["architectures"] = {"MistralForCausalLM"};
    config["max_position_embeddings"] = 32768;

    EXPECT_EQ(from_hugging_face(config, "c").window, 4096);
    config["sliding_window"] = nullptr;
    EXPECT_EQ(from_hugging_face(config, "c").window, 0);
    config["sliding_window"] = 512;
    EXPECT_EQ(from_hugging_face(config, "c").window, 512);
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

TEST(HuggingFace, AQwensWindowCountsWhereItIsUsedAndForAllLayersOrNone) {
    const auto window = [](const json& fields) {
        json config = qwen2_config();
        config.update(fields);
        return from_hugging_face(config, "c.json").window;
    };
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

    EXPECT_EQ(window({{"sliding_window", 16}, {"max_window_layers", 0}}), 0);
    EXPECT_EQ(window({{"sliding_window", 16}, {"max_window_layers", 0}, {"use_sliding_window", nullptr}}), 0);
    EXPECT_EQ(window(with({})), 0);  // the first 28 layers have none
    EXPECT_EQ(window(with({{"max_window_layers", 0}})), 16);
    EXPECT_EQ(window(with({{"layer_types", {sliding, sliding, sliding}}})), 16);
    EXPECT_EQ(window(with({{"layer_types", {full, full, full}}, {"max_window_layers", 0}})), 0);
    EXPECT_EQ(window(with({{"max_window_layers", 1}, {"max_position_embeddings", 16}})), 0);
    refused(with({{"max_window_layers", 1}}), "2 of 3 layers have an attention window of 16");
    refused(with({{"layer_types", {full, sliding, full}}}), "1 of 3 layers");
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
    a.window = 8;
    EXPECT_EQ(loadable_family(a), Family::mistral);
    EXPECT_EQ(from_hugging_face(to_hugging_face(a, "float32"), "c").window, 8);
    const auto refused = [&](const Architecture& with, const char* what) {
        EXPECT_THAT([&] { loadable_family(with); }, ThrowsMessage<UserError>(HasSubstr(what)));
    };

    a.mlp_bias = true;
    refused(a, "sliding window");
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
    a.window = 8;
    EXPECT_EQ(from_hugging_face(to_hugging_face(a, "float32"), "c"), a);
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
