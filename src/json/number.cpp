#include "src/json/number.hpp"

#include <array>
#include <charconv>

namespace espalier {

double shortest(float value) {
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.begin(), digits.end(), value).ptr;
    double out = 0;
    std::from_chars(digits.begin(), end, out);
    return out;
}

}  // namespace espalier
