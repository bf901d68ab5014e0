// Where the parameters of a model stand in other programs' files.
#pragma once

#include "src/model/parameters.hpp"

namespace espalier::model {

/// Where a parameter is found in somebody else's file, and how it is stored there.
struct ForeignTensor {
    std::string name;
    Shape shape;            ///< of the file's tensor: heads and head_dim are one axis
    int64_t first_row = 0;  ///< of the parameter's, where the file's tensor holds others too
    /// d > 0: the d rows of each head are stored as rotary pairs 0, d/2, 1, d/2 + 1, ...
    int64_t interleaved_dim = 0;
    double factor = 1;  ///< the file's values are ours times this,
    double added = 0;   ///< and then more by this (norm weights stored as gains)
};

/// How a file stores weights that one input meets: queries, keys and values, and in the files of transformers
/// (Phi-3's) gate and up.
enum class Projections { apart, fused };

/// In the safetensors files of transformers. Its Gemmas scale embeddings by the square root of whatever width
/// they have; where a cut model's scale is its source's, what its layers add to the residual stream is stored
/// larger or smaller by as much, which norms take out again.
ForeignTensor hugging_face_tensor(const Architecture& a, const Parameter& p,
                                  Projections projections = Projections::apart);

/// In llama.cpp's GGUF. q and k of Llama and Mistral files are stored as rotary pairs; norms that
/// multiply by one more than the weight (Nemotron's and Gemma's) as that gain.
ForeignTensor gguf_tensor(const Architecture& a, const Parameter& p, Projections projections);

/// Tensors of a checkpoint that are no parameters and may be passed over.
bool is_ignored_tensor(const std::string& name);

/// Row `row` of our tensor stands in this row of the foreign one.
int64_t foreign_row(const ForeignTensor& t, int64_t row);

}  // namespace espalier::model
