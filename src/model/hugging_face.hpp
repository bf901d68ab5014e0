// A model in Hugging Face's words: config.json.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "src/model/architecture.hpp"

namespace espalier::model {

/// A config.json of one of hugging_face_classes (hugging_face_class.hpp), as transformers 4 or 5 spells it.
/// Throws UserError naming `source`, the field and the way out for what is unknown or unsupported.
Architecture from_hugging_face(const nlohmann::json& config, const std::string& source);

/// config.json as transformers 4 and 5 read it, of a model that they load (loadable.hpp; UserError where none
/// does); `dtype` is "float32" or "bfloat16".
nlohmann::ordered_json to_hugging_face(const Architecture& a, const std::string& dtype);

}  // namespace espalier::model
