// Numbers as JSON shows them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace espalier {

/// The double with the fewest digits that rounds to `value`: written out, 1e-5f is 1e-05 and not
/// 9.999999747378752e-06.
double shortest(float value);

/// What JsonField::integers reads: null for none, a number for one, else a list.
nlohmann::ordered_json one_or_list(const std::vector<int64_t>& values);

}  // namespace espalier
