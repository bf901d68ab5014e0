// Losses over a vocabulary on the CPU; contracts and checks are those of kernels/divergence.hpp.
#pragma once

#include "kernels/divergence.hpp"

namespace espalier::cpu {

void softmax_statistics(Context& ctx, const Tensor& logits, float tau, Tensor& stats);
void tail_statistics(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, float tau,
                     Tensor& stats);
void softmax_combine(Context& ctx, const Tensor& all, Tensor& lse);
void label_logits(Context& ctx, const Tensor& logits, const Tensor& labels, int64_t first_id,
                  Tensor& labelled);
void divergence_sums(Context& ctx, Divergence kind, const Sides& sides, float tau, Tensor& sums);
void divergence_loss(Context& ctx, Divergence kind, const Tensor& sums, Tensor& loss);
void logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits);
void kl_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits,
                 Tensor& sums);
void row_argmax(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& best);

}  // namespace espalier::cpu
