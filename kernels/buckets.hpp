// A divergence over the teacher's K most likely tokens, found by top_k.hpp, and one bucket for all the
// others, on both sides. Notation as in divergence.hpp; a bucket is one of the K tokens or, last, the tail.
#pragma once

#include "kernels/divergence.hpp"

namespace espalier {

/// Phase 1, the same on every rank. sides: of the teacher's K tokens, [rows, K], with the log-sum-exps of the
/// whole vocabulary.
///   loss [rows] f32 = D over K + 1 buckets, whose probabilities sum to 1 on both sides
///   slopes [rows, K + 1] f32: with g = dD/dp_s of a bucket, less its expectation under p_s,
///     p_s g of each of the K tokens, which is finite where p_s has become 0 and g has not; g of the tail
void bucket_divergence(Context& ctx, Divergence kind, const Sides& sides, float tau, Tensor& loss,
                       Tensor& slopes);

/// Phase 2. The gradient as logit_gradient's, in place of its divergence that of bucket_divergence:
///   d_logits = row_weight * (divergence_weight / tau * (slope of one of the K tokens, or p_s * the tail's)
///                            + label_weight * (softmax(student) - one at the label))
/// ids [rows, K] i32: vocabulary ids of the K tokens. Of the sides the student's are read; sums is not.
void bucket_logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, const Tensor& ids,
                           const Tensor& slopes, Tensor& d_logits);

}  // namespace espalier
