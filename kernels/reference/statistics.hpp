// Statistics of activations, in plain loops.
#pragma once

#include "kernels/reference/values.hpp"
#include "kernels/statistics.hpp"

namespace espalier::reference {

/// [samples, 3, columns.size()] of x [rows, n], as in the contract.
Values moments(const Values& x, int64_t n, int64_t samples, Range columns);
/// [rows, heads] of o [rows, heads * head_dim].
Values head_norms(const Values& o, int64_t head_dim);
/// [rows] of a, b [rows, n].
Values row_cosines(const Values& a, const Values& b, int64_t n);

}  // namespace espalier::reference
