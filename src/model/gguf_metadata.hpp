// A model in llama.cpp's words: GGUF's metadata.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "src/model/architecture.hpp"

namespace espalier::model {

/// metadata: GGUF's scalars (and short lists of numbers) as a JSON object; tensors: the names of those that
/// the file holds (a missing output.weight means tied); rope_factors: the values of rope_freqs.weight where
/// the file has it, else empty. Throws UserError naming `source`, the field and the way out for what is
/// unsupported.
Architecture from_gguf(const nlohmann::json& metadata, const std::vector<std::string>& tensors,
                       const std::vector<float>& rope_factors, const std::string& source);

}  // namespace espalier::model
