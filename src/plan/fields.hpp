// Reads the planner's own JSON files strictly: every complaint names the file and the key, and a key that
// nobody asked for is one.
#pragma once

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "src/core/error.hpp"

namespace espalier::plan {

inline constexpr double no_limit = std::numeric_limits<double>::infinity();

/// Takes fields out of an object one by one; what is left in the end nobody knows.
class Fields {
public:
    Fields(const nlohmann::json& object, std::string source) : object_(object), source_(std::move(source)) {
        ESPALIER_REQUIRE(object_.is_object(), "{}: expected a JSON object; docs/planner.md describes it",
                         source_);
    }

    const nlohmann::json& at(const std::string& key) {
        known_.insert(key);
        ESPALIER_REQUIRE(object_.contains(key), "{}: \"{}\" is missing; docs/planner.md lists the keys",
                         source_, key);
        return object_.at(key);
    }
    /// In (0, most].
    double positive(const std::string& key, double most = no_limit) {
        const double x = number(key, at(key));
        ESPALIER_REQUIRE(x > 0 && x <= most, "{}: \"{}\" is {}; it must be above 0{}", source_, key, x,
                         most < no_limit ? fmt::format(" and at most {}", most) : "");
        return x;
    }
    /// 0 or more; `fallback` where it is absent.
    double optional(const std::string& key, double fallback) {
        known_.insert(key);
        const double x = object_.contains(key) ? number(key, object_.at(key)) : fallback;
        ESPALIER_REQUIRE(x >= 0, "{}: \"{}\" is {}; it cannot be negative", source_, key, x);
        return x;
    }
    int64_t count(const std::string& key) {
        const double x = positive(key, 1e15);
        ESPALIER_REQUIRE(x == std::floor(x), "{}: \"{}\" is {}, expected a whole number", source_, key, x);
        return static_cast<int64_t>(x);
    }
    bool has(const std::string& key) const { return object_.contains(key); }
    std::string text(const std::string& key) {
        const nlohmann::json& value = at(key);
        ESPALIER_REQUIRE(value.is_string(), "{}: \"{}\" must be a text", source_, key);
        return value.get<std::string>();
    }
    std::string where(const std::string& key) const { return source_ + ": " + key; }
    void refuse_others() const {
        for (const auto& [key, value] : object_.items())
            ESPALIER_REQUIRE(known_.count(key), "{}: unknown key \"{}\"; docs/planner.md lists the keys",
                             source_, key);
    }

private:
    double number(const std::string& key, const nlohmann::json& value) const {
        ESPALIER_REQUIRE(value.is_number(), "{}: \"{}\" is {}, expected a number", source_, key,
                         value.dump());
        return value.get<double>();
    }
    const nlohmann::json& object_;
    std::string source_;
    std::set<std::string> known_;
};

}  // namespace espalier::plan
