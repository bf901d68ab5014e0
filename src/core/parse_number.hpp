// Numbers that users write.
#pragma once

#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string>

namespace espalier {

/// The number that `text` is, in the spellings of std::strtod (also "inf", "nan"); nothing where there is
/// more or less to it, or where double cannot hold it.
inline std::optional<double> parse_number(const std::string& text) {
    char* end = nullptr;
    errno = 0;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || end != text.c_str() + text.size() || errno == ERANGE) return std::nullopt;
    return value;
}

}  // namespace espalier
