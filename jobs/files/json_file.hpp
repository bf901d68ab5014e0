// JSON files that users write.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "src/model/architecture.hpp"

namespace espalier::jobs {

/// Throws UserError that names the file, and the place where it stops being JSON.
nlohmann::json read_json(const std::string& path);

/// Takes the object of a line, the line's place for messages, and the bytes of the file up to its end.
using ReadJsonLine =
    std::function<void(const nlohmann::json& object, const std::string& where, int64_t bytes)>;
/// Calls `read` with each line of a .jsonl file that is not blank. Throws UserError where a line is no
/// object.
void for_each_json_line(const std::string& path, const ReadJsonLine& read);

/// ARCH.json: an HF config.json, the `architecture` that `inspect --json` prints, or its whole output.
model::Architecture read_architecture(const std::string& path);

}  // namespace espalier::jobs
