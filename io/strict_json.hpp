// JSON from files that are not ours.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace espalier::io {

/// Parses `text`; `what` names it in messages. Throws UserError on a syntax error, invalid UTF-8, a key that
/// an object has twice, or nesting deeper than `depth`.
nlohmann::json parse_json(std::string_view text, const std::string& what, int depth = 64);

}  // namespace espalier::io
