// What transformers' class of each family takes for granted, and which fields it heeds.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "src/model/architecture.hpp"

namespace espalier::model {

/// Which of the attention's four projections have biases.
enum class AttentionBias {
    none,
    query_key_value,  ///< always, and the output projection never
    as_configured,    ///< all four or none: "attention_bias"
};

/// Where a file says that attention sees a window.
enum class WindowField {
    none,
    of_model,  ///< "sliding_window", for all layers
    /// "sliding_window" where "use_sliding_window" is set, for the layers that "layer_types" lists, or those
    /// from "max_window_layers" on.
    of_layers,
    alternating,  ///< for the layers that "layer_types" lists, or the first, the third, ...
};

struct HuggingFaceClass {
    const char* name;        ///< in "architectures"
    const char* activation;  ///< where "hidden_act" is missing, and so are the next three
    int64_t max_positions;
    double init_std;
    int64_t head_dim;  ///< 0: hidden / heads
    Family family;
    AttentionBias attention_bias;
    WindowField window;
    bool mlp_bias;  ///< heeds the field
    bool qk_norm;
    bool tied;  ///< where "tie_word_embeddings" is missing
};

std::span<const HuggingFaceClass> hugging_face_classes();
const HuggingFaceClass& hugging_face_class(Family family);

/// LayerNorm1P with biases, plain MLPs, partly turned heads; the others have RMSNorm, gates, whole heads.
inline bool is_nemotron(Family family) {
    return family == Family::nemotron;
}

/// RMSNorm whose gain is one plus its weight, gates of GELU, embeddings times sqrt(hidden).
inline bool is_gemma(Family family) {
    return family == Family::gemma || family == Family::gemma2;
}

}  // namespace espalier::model
