// Tables of enumerators and their names in options, files and messages, read in both directions.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "src/core/error.hpp"

namespace espalier {

/// A row of such a table, which is a constexpr std::array. Tables of more columns have these two as well.
template <class E>
struct Named {
    E value;
    std::string_view name;
};
template <class E>
Named(E, const char*) -> Named<E>;

/// InternalError for a value that the table lacks.
template <class Row, size_t n>
const Row& row_of(const std::array<Row, n>& table, decltype(Row::value) value) {
    for (const Row& row : table) {
        if (row.value == value) return row;
    }
    throw InternalError("an enumerator without a name");
}

template <class Row, size_t n>
std::string_view name_of(const std::array<Row, n>& table, decltype(Row::value) value) {
    return row_of(table, value).name;
}

/// Nothing for a name that the table lacks.
template <class Row, size_t n>
std::optional<decltype(Row::value)> value_of(const std::array<Row, n>& table, std::string_view name) {
    for (const Row& row : table) {
        if (row.name == name) return row.value;
    }
    return std::nullopt;
}

/// "none, selective, full", or with " or " before the last.
template <class Row, size_t n>
std::string listed(const std::array<Row, n>& table, const char* before_last = ", ") {
    std::string out(table.front().name);
    for (size_t i = 1; i < n; ++i) {
        out += i + 1 < n ? ", " : before_last;
        out += table[i].name;
    }
    return out;
}

/// The value that the user gave `option`; UserError lists what there is to choose.
template <class Row, size_t n>
auto chosen(const std::array<Row, n>& table, std::string_view name, const char* option) {
    const auto value = value_of(table, name);
    ESPALIER_REQUIRE(value, "{} {}: choose {}", option, name, listed(table, " or "));
    return *value;
}

}  // namespace espalier
