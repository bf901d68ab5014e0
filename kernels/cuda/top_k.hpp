// The divergence over the teacher's best tokens on the GPU; contracts and checks are those of
// kernels/top_k.hpp.
#pragma once

#include "kernels/top_k.hpp"

namespace espalier::cuda {

void row_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids);
void merge_top_k(Context& ctx, const Tensor& all_values, const Tensor& all_ids, Tensor& values, Tensor& ids);
void pick_logits(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, Tensor& picked);
void bucket_divergence(Context& ctx, Divergence kind, const Tensor& teacher, const Tensor& student,
                       const Tensor& lse_t, const Tensor& lse_s, float tau, Tensor& loss, Tensor& slopes);
void bucket_logit_gradient(Context& ctx, const LogitGradient& what, const Tensor& student,
                           const Tensor& lse_s, const Tensor& ids, const Tensor& slopes, const Tensor& lse_1,
                           const Tensor& labels, const Tensor& row_weights, Tensor& d_logits);

}  // namespace espalier::cuda
