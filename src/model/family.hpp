// What all models of a family have in common, whatever file they come from.
#pragma once

#include "src/model/architecture.hpp"

namespace espalier::model {

struct FamilyTraits {
    Family family;
    Activation activation;  ///< where a file names none; gated or plain, whatever it names
    NormKind norm;          ///< LayerNorms have biases
    Gain gain;
    double rotary_fraction;  ///< of each head, where a file does not say; 1: always the whole head
    bool parallel_block;
    bool head_bias;
};

const FamilyTraits& traits_of(Family family);

/// Sets what does not depend on the file.
void apply(const FamilyTraits& traits, Architecture& a);

/// Embeddings times sqrt(hidden).
inline bool is_gemma(Family family) {
    return family == Family::gemma || family == Family::gemma2;
}

}  // namespace espalier::model
