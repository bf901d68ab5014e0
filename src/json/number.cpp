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

nlohmann::ordered_json one_or_list(const std::vector<int64_t>& values) {
    if (values.empty()) return nullptr;
    if (values.size() == 1) return values.front();
    return values;
}

}  // namespace espalier
