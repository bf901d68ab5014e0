// Activation statistics on the GPU; contracts and checks are those of kernels/statistics.hpp.
#pragma once

#include "kernels/statistics.hpp"

namespace espalier::cuda {

void moments(Context& ctx, const Tensor& x, int64_t samples, Range columns, Tensor& moments);
void activate_with_moments(Context& ctx, Activation activation, const Tensor& u, int64_t samples, Tensor& y,
                           Tensor& moments);
void head_norms(Context& ctx, const Tensor& o, int64_t heads, Tensor& norms);
void row_cosines(Context& ctx, const Tensor& a, const Tensor& b, Tensor& cosines);

}  // namespace espalier::cuda
