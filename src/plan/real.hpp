// Counts and sizes in formulas.
#pragma once

#include <cstdint>

#include "src/core/dtype.hpp"

namespace espalier::plan {

/// A count as the factor of a formula.
constexpr double real(int64_t count) {
    return static_cast<double>(count);
}

inline double element_bytes(DType dtype) {
    return static_cast<double>(size_of(dtype));
}

}  // namespace espalier::plan
