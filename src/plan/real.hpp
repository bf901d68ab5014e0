// Counts in formulas.
#pragma once

#include <cstdint>

namespace espalier::plan {

/// A count as the factor of a formula.
constexpr double real(int64_t count) {
    return static_cast<double>(count);
}

}  // namespace espalier::plan
