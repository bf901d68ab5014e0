// A model in Hugging Face's words: config.json.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "src/model/architecture.hpp"

namespace espalier::model {

/// A config.json of one of hugging_face_classes (hugging_face_class.hpp), as transformers 4 or 5 spells it.
/// Throws UserError naming `source`, the field and the way out for what is unknown or unsupported.
Architecture from_hugging_face(const nlohmann::json& config, const std::string& source);

/// The family under which transformers loads this shape: its own, or Mistral for a Llama whose hidden size is
/// no multiple of its heads (transformers' Llama refuses that; Mistral is the same maths). Throws UserError
/// naming the nearest shapes that load where there is none.
Family loadable_family(const Architecture& a);

/// config.json as transformers 4 and 5 read it; `dtype` is "float32" or "bfloat16".
nlohmann::ordered_json to_hugging_face(const Architecture& a, const std::string& dtype);

}  // namespace espalier::model
