// The divergence over K tokens and a tail on the CPU; contracts and checks are those of
// kernels/buckets.hpp.
#pragma once

#include "kernels/buckets.hpp"

namespace espalier::cpu {

void bucket_divergence(Context& ctx, Divergence kind, const Buckets& buckets, float tau, Tensor& loss,
                       Tensor& slopes);
void bucket_logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in,
                           const Buckets& buckets, const Tensor& slopes, Tensor& d_logits);

}  // namespace espalier::cpu
