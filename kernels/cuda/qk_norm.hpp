// Heads normalised on the GPU; contracts and checks are those of kernels/qk_norm.hpp.
#pragma once

#include "kernels/qk_norm.hpp"

namespace espalier::cuda {

void qk_norm(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
             HeadCounts heads, float eps, Tensor& y, Tensor& rstd);
void qk_norm_backward(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
                      HeadCounts heads, const Tensor& rstd, Tensor& d, Tensor& d_query_weight,
                      Tensor& d_key_weight);

}  // namespace espalier::cuda
