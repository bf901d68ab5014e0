// What the planner asks of the numbers in its JSON files, whose keys docs/planner.md lists.
#pragma once

#include <cmath>
#include <limits>

#include "src/core/error.hpp"
#include "src/json/field.hpp"

namespace espalier::plan {

inline constexpr double no_limit = std::numeric_limits<double>::infinity();
inline constexpr const char* keys_advice = "docs/planner.md lists the keys";

/// In (0, most].
inline double positive(const JsonField& in, std::string_view key, double most = no_limit) {
    const double x = in.number(key);
    ESPALIER_REQUIRE(x > 0 && x <= most, "{}: \"{}\" is {}; it must be above 0{}", in.place(), key, x,
                     most < no_limit ? fmt::format(" and at most {}", most) : "");
    return x;
}

/// 0 or more; `otherwise` where it is absent.
inline double not_negative(const JsonField& in, std::string_view key, double otherwise) {
    const double x = in.number(key, otherwise);
    ESPALIER_REQUIRE(x >= 0, "{}: \"{}\" is {}; it cannot be negative", in.place(), key, x);
    return x;
}

/// A positive whole number, in whatever spelling (1e9).
inline int64_t count(const JsonField& in, std::string_view key) {
    const double x = positive(in, key, 1e15);
    ESPALIER_REQUIRE(x == std::floor(x), "{}: \"{}\" is {}, expected a whole number", in.place(), key, x);
    return static_cast<int64_t>(x);
}

}  // namespace espalier::plan
