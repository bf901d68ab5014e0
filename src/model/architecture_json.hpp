// An architecture as JSON: our own spelling, and whatever of it or Hugging Face's a file holds.
#pragma once

#include <nlohmann/json.hpp>

#include "src/model/architecture.hpp"

namespace espalier::model {

/// Every field, in Espalier's words. Widths that are the same in all layers are numbers, else lists.
nlohmann::ordered_json to_json(const Architecture& a);

/// The inverse of to_json, or Hugging Face's config.json (hugging_face.hpp), whichever `object` is. Throws
/// UserError naming `source` and the field.
Architecture architecture_from_json(const nlohmann::json& object, const std::string& source);

}  // namespace espalier::model
