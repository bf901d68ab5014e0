#include "src/model/hugging_face.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "src/model/architecture_json.hpp"
#include "src/model/hugging_face_class.hpp"
#include "tests/model/hugging_face_configs.hpp"
#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

using nlohmann::json;
using test::llama_config;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

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
    config["rope_scaling"] = {{"type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 1024}};
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

TEST(HuggingFace, ScalingWithoutAFactorIsRefusedAsTransformersDoes) {
    json config = llama_config();
    for (const char* kind : {"linear", "llama3", "yarn"}) {
        config["rope_parameters"] = {{"rope_type", kind}, {"rope_theta", 1e4}};
        EXPECT_THAT([&] { from_hugging_face(config, "c"); }, ThrowsMessage<UserError>(HasSubstr("factor")));
    }
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
    for (Architecture a :
         {test::tiny_llama(), test::tiny_nemotron(true), test::tiny_qwen2(), test::tiny_qwen3(),
          test::tiny_qwen3(true), test::tiny_gemma2(), test::tiny_phi()}) {
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

}  // namespace
}  // namespace espalier::model
