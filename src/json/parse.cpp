#include "src/json/parse.hpp"

#include <unordered_set>
#include <vector>

#include "src/core/error.hpp"

namespace espalier {

nlohmann::json parse_json(std::string_view text, const std::string& what, JsonRules rules) {
    using Event = nlohmann::json::parse_event_t;
    std::vector<std::unordered_set<std::string>> open;  // the keys of every object that is still open
    const auto check = [&](int level, Event event, nlohmann::json& parsed) {
        if (event == Event::object_start || event == Event::array_start) {
            ESPALIER_REQUIRE(level < rules.depth, "{}: JSON nested deeper than {}", what, rules.depth);
        }
        if (!rules.unique_keys) return true;
        if (event == Event::object_start) open.emplace_back();
        if (event == Event::object_end) open.pop_back();
        if (event == Event::key) {
            const auto& key = parsed.get_ref<const std::string&>();
            ESPALIER_REQUIRE(open.back().insert(key).second, "{}: the JSON key '{}' occurs twice", what, key);
        }
        return true;
    };
    try {
        return nlohmann::json::parse(text.begin(), text.end(), check);
    } catch (const nlohmann::json::exception& error) {
        const std::string_view reason = error.what();
        const bool unicode = reason.find("surrogate") != reason.npos || reason.find("UTF-8") != reason.npos;
        fail("{}: not valid JSON: {}{}", what, unicode ? "invalid Unicode: " : "", reason);
    }
}

}  // namespace espalier
