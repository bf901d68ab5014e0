// Indices of the best.
#pragma once

#include <cstdint>
#include <vector>

namespace espalier::prune {

/// 0 .. count - 1.
std::vector<int64_t> first_of(int64_t count);

/// All indices, best first; of equal ones the lower.
std::vector<int64_t> ranked(const std::vector<double>& scores);
/// The best `count` of scores, ascending; of equal ones the lower indices.
std::vector<int64_t> best(const std::vector<double>& scores, int64_t count);

}  // namespace espalier::prune
