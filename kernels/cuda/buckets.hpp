// The divergence over K tokens and a tail on the GPU; contracts and checks are those of
// kernels/buckets.hpp.
#pragma once

#include "kernels/buckets.hpp"

namespace espalier::cuda {

void bucket_divergence(Context& ctx, Divergence kind, const Tensor& teacher, const Tensor& student,
                       const Tensor& lse_t, const Tensor& lse_s, float tau, Tensor& loss, Tensor& slopes);
void bucket_logit_gradient(Context& ctx, const LogitGradient& what, const Tensor& student,
                           const Tensor& lse_s, const Tensor& ids, const Tensor& slopes, const Tensor& lse_1,
                           const Tensor& labels, const Tensor& row_weights, Tensor& d_logits);

}  // namespace espalier::cuda
