// config.json files as Hugging Face writes them, without what a test is about.
#pragma once

#include "src/model/hugging_face.hpp"

namespace espalier::test {

/// Three layers, four heads on two, a vocabulary of 128; no head_dim, rotary base or window.
inline nlohmann::json llama_config() {
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

inline nlohmann::json qwen2_config() {
    nlohmann::json config = llama_config();
    config["architectures"] = {"Qwen2ForCausalLM"};
    return config;
}

inline nlohmann::json gemma2_config() {
    nlohmann::json config = llama_config();
    config["architectures"] = {"Gemma2ForCausalLM"};
    return config;
}

inline nlohmann::json phi_config() {
    nlohmann::json config = llama_config();
    config["architectures"] = {"PhiForCausalLM"};
    config.erase("rms_norm_eps");
    return config;
}

/// Of each layer, as it was read; 0 where a token sees all before it.
inline std::vector<int64_t> windows(const nlohmann::json& config) {
    std::vector<int64_t> out;
    for (const model::LayerShape& l : model::from_hugging_face(config, "c.json").layers)
        out.push_back(l.window);
    return out;
}

}  // namespace espalier::test
