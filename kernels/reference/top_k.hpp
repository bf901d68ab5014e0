// The largest logits of a row.
#pragma once

#include <cstdint>
#include <vector>

namespace espalier::reference {

/// The ids [k] of a row's largest logits, z [n], of equal ones the lower first.
std::vector<int64_t> top_k(const double* z, int64_t n, int64_t k);

}  // namespace espalier::reference
