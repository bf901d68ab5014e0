// What `plan` says to a person, and to a file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "src/plan/enumerate.hpp"

namespace espalier::jobs {

/// A line a layout, the first `most`.
std::string table(const std::vector<plan::Prediction>& layouts, size_t most);

/// {"seconds", "memory_bytes", "mfu", "tokens_per_second", layout, "breakdown", "memory"}
nlohmann::ordered_json to_json(const plan::Prediction& prediction);
nlohmann::ordered_json to_json(const std::vector<plan::Prediction>& layouts);

}  // namespace espalier::jobs
