// JSON from files that are not ours.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace espalier {

struct JsonRules {
    int depth = 64;           ///< objects and lists within each other
    bool unique_keys = true;  ///< else the last of two counts
};

/// Parses `text`; `what` names it in messages. Throws UserError on a syntax error, invalid UTF-8, and what
/// the rules forbid.
nlohmann::json parse_json(std::string_view text, const std::string& what, JsonRules rules = {});

}  // namespace espalier
