// JSON files that users write.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "src/model/architecture.hpp"

namespace espalier::jobs {

/// Throws UserError that names the file, and the place where it stops being JSON.
nlohmann::json read_json(const std::string& path);

/// Calls `read` with the object of each line of a .jsonl file that is not blank, and with the line's place
/// for messages. Throws UserError where a line is no object.
void for_each_json_line(const std::string& path,
                        const std::function<void(const nlohmann::json&, const std::string& where)>& read);

/// ARCH.json: an HF config.json, the `architecture` that `inspect --json` prints, or its whole output.
model::Architecture read_architecture(const std::string& path);

}  // namespace espalier::jobs
