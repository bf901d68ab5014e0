// What transformers' class of each family takes for granted, and which fields it heeds.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "src/model/family.hpp"

namespace espalier::model {

/// Which projections have biases: the four of attention, the MLP's.
enum class Biases {
    none,
    all,
    query_key_value,  ///< these and not the output projection
    as_configured,    ///< all or none: "attention_bias", "mlp_bias"
};

/// Where a file says that attention sees a window.
enum class WindowField {
    none,
    of_model,           ///< "sliding_window", for all layers; 4096 where it is missing
    of_model_if_named,  ///< the same; none where it is missing
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
    Biases attention_biases, mlp_biases;
    WindowField window;
    bool qk_norm;
    bool tied;  ///< where "tie_word_embeddings" is missing
};

/// Those that are read. Several may be of one family, which is written as the first of them.
std::span<const HuggingFaceClass> hugging_face_classes();
const HuggingFaceClass& hugging_face_class(Family family);

}  // namespace espalier::model
