// llama.cpp's names for what a model is made of: GGUF metadata and tensors.
#pragma once

#include <nlohmann/json.hpp>

#include "src/model/hugging_face.hpp"

namespace espalier::model {

/// metadata: GGUF's scalars (and short lists of numbers) as a JSON object; has_tensor tells which tensors the
/// file holds (a missing output.weight means tied); rope_factors: the values of rope_freqs.weight where the
/// file has it, else empty.
Architecture from_gguf(const nlohmann::json& metadata, const std::vector<std::string>& tensors,
                       const std::vector<float>& rope_factors, const std::string& source);

/// q and k of Llama and Mistral files are stored as rotary pairs; Nemotron's norms as gains, one more than
/// the weight.
ForeignTensor gguf_tensor(const Architecture& a, const Parameter& p);

}  // namespace espalier::model
