// Where the parameters of a model stand in other programs' files.
#pragma once

#include "src/model/parameters.hpp"

namespace espalier::model {

/// Where a parameter is found in somebody else's file, and how it is stored there.
struct ForeignTensor {
    std::string name;
    Shape shape;  ///< as the file has it: heads and head_dim are one axis
    /// d > 0: the d rows of each head are stored as rotary pairs 0, d/2, 1, d/2 + 1, ...
    int64_t interleaved_dim = 0;
    float added = 0;  ///< what the file's values are more than ours (norm weights stored as gains)
};

/// In the safetensors files of transformers.
ForeignTensor hugging_face_tensor(const Parameter& p);

/// In llama.cpp's GGUF. q and k of Llama and Mistral files are stored as rotary pairs; Nemotron's norms as
/// gains, one more than the weight.
ForeignTensor gguf_tensor(const Architecture& a, const Parameter& p);

/// Tensors of a checkpoint that are no parameters and may be passed over.
bool is_ignored_tensor(const std::string& name);

/// Row `row` of our tensor stands in this row of the foreign one.
int64_t foreign_row(const ForeignTensor& t, int64_t row);

}  // namespace espalier::model
