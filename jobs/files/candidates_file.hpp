// CANDIDATES.json: the shapes that a search found, and the losses it measured for them.
#pragma once

#include <nlohmann/json.hpp>

#include "src/search/enumerate.hpp"

namespace espalier::jobs {

/// `candidate`, its number in the enumeration; `layers`, `hidden`, `heads`, `kv_heads`, `ffn`; `parameters`,
/// `memory_bytes`, `flops_per_token`; `loads_as`, null where no loader takes the shape; `seconds_per_token`
/// where a system is given.
nlohmann::ordered_json to_json(const search::Candidate& candidate, int64_t number);

/// The shape at position k, from 0, of the list in a file. Throws UserError naming the file and the field.
search::ModelShape read_candidate(const std::string& path, int64_t k);

}  // namespace espalier::jobs
