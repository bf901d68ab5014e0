#include "benchmarks/planner/table.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <vector>

namespace espalier::benchmarks {
namespace {

/// A word, with the unit of its last digit where it is a number with a point; a whole number is as it is.
struct Word {
    std::string text;
    bool is_number = false;
    double value = 0, unit = 0;
};

Word read_word(const std::string& text) {
    Word out{text};
    // from_chars knows no plus, and a list of constants ends its numbers with semicolons.
    const size_t begin = text.starts_with('+') ? 1 : 0, end = text.find_last_not_of(';') + 1;
    const char *const first = text.data() + begin, *const last = text.data() + std::max(begin, end);
    const auto [stop, error] = std::from_chars(first, last, out.value);
    out.is_number = error == std::errc() && stop == last;
    if (!out.is_number) return out;
    const std::string number(first, last);
    const size_t exponent = std::min(number.find('e'), number.size()),
                 point = std::min(number.find('.'), exponent);
    if (point == exponent) return out;
    const double power = exponent < number.size() ? std::stod(number.substr(exponent + 1)) : 0.0;
    out.unit = std::pow(10.0, power - static_cast<double>(exponent - point - 1));
    return out;
}

std::vector<Word> words_of(const std::string& line) {
    std::istringstream in(line);
    std::vector<Word> out;
    for (std::string text; in >> text;) out.push_back(read_word(text));
    return out;
}

bool same(const Word& a, const Word& b) {
    if (a.text == b.text) return true;
    if (!a.is_number || !b.is_number) return false;
    // Zeros cut off the end make units differ, 0.85 beside 0.8499: the finer one counts.
    const double unit = a.unit > 0 && b.unit > 0 ? std::min(a.unit, b.unit) : std::max(a.unit, b.unit);
    return unit > 0 && std::abs(a.value - b.value) <= 1.01 * unit;
}

bool same(const std::string& a, const std::string& b) {
    const auto left = words_of(a), right = words_of(b);
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [](const Word& x, const Word& y) { return same(x, y); });
}

}  // namespace

std::string first_difference(const std::string& printed, const std::string& committed) {
    std::istringstream left(printed), right(committed);
    for (int number = 1;; ++number) {
        std::string a, b;
        const bool more = !std::getline(left, a).fail(), expected = !std::getline(right, b).fail();
        if (!more && !expected) return "";
        if (more != expected || !same(a, b))
            return fmt::format("line {}:\n  now       {}\n  committed {}", number, more ? a : "(its end)",
                               expected ? b : "(its end)");
    }
}

}  // namespace espalier::benchmarks
