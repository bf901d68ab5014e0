// Hugging Face's names for what a model is made of: config.json, and the tensors of its safetensors files.
#pragma once

#include <nlohmann/json.hpp>

#include "src/model/parameters.hpp"

namespace espalier::model {

/// A config.json of LlamaForCausalLM, MistralForCausalLM or NemotronForCausalLM, in the spelling of
/// transformers 4 or 5. Throws UserError naming `source`, the field and the way out for what is unknown or
/// unsupported.
Architecture from_hugging_face(const nlohmann::json& config, const std::string& source);

/// The family under which transformers loads this shape: its own, or Mistral for a Llama whose hidden size is
/// no multiple of its heads (transformers' Llama refuses that; Mistral is the same maths). Throws UserError
/// naming the nearest shapes that load where there is none.
Family loadable_family(const Architecture& a);

/// config.json as transformers 4 and 5 read it; `dtype` is "float32" or "bfloat16".
nlohmann::ordered_json to_hugging_face(const Architecture& a, const std::string& dtype);

/// Where a parameter is found in somebody else's file, and how it is stored there.
struct ForeignTensor {
    std::string name;
    Shape shape;  ///< as the file has it: heads and head_dim are one axis
    int64_t interleaved_dim =
        0;  ///< > 0: rows of each head of this many are stored as rotary pairs 0, d/2, 1, d/2 + 1, ...
    float added = 0;  ///< what the file's values are more than ours (norm weights stored as gains)
};
ForeignTensor hugging_face_tensor(const Architecture& a, const Parameter& p);

/// Tensors of a checkpoint that are no parameters and may be passed over.
bool is_ignored_tensor(const std::string& name);

/// Row `row` of our tensor stands in this row of the foreign one.
int64_t foreign_row(const ForeignTensor& t, int64_t row);

}  // namespace espalier::model
