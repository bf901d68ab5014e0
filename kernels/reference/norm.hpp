// Normalisation of rows, as a textbook says it.
#pragma once

#include "kernels/norm.hpp"
#include "kernels/reference/values.hpp"

namespace espalier::reference {

/// y [rows, n]; bias may be empty.
Values norm(const Values& x, const Values& weight, const Values& bias, NormOptions options);

struct NormStats {
    double mean;
    double rstd;
};
NormStats norm_stats(const double* row, int64_t n, NormOptions options);

struct NormGradients {
    Values dx;  ///< without what the residual stream holds already
    Values dweight;
    Values dbias;
};
NormGradients norm_backward(const Values& dy, const Values& x, const Values& weight, NormOptions options);

}  // namespace espalier::reference
