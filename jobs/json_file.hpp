// JSON files that users write.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "src/model/architecture.hpp"

namespace espalier::jobs {

/// Throws UserError that names the file, and the place where it stops being JSON.
nlohmann::json read_json(const std::string& path);

/// ARCH.json: an HF config.json, the `architecture` that `inspect --json` prints, or its whole output.
model::Architecture read_architecture(const std::string& path);

}  // namespace espalier::jobs
