// A divergence over the teacher's K most likely tokens, found by top_k.hpp, and one bucket for all the
// others, on both sides. Notation as in divergence.hpp; a bucket is one of the K tokens or, last, the tail.
#pragma once

#include "kernels/divergence.hpp"

namespace espalier {

/// Phase 1, the same on every rank. teacher, student [rows, K] f32: logits of the teacher's K tokens; lse_t,
/// lse_s [rows] f32 over the whole vocabulary at temperature tau.
///   loss [rows] f32 = D over K + 1 buckets, whose probabilities sum to 1 on both sides
///   slopes [rows, K + 1] f32: with g = dD/dp_s of a bucket, less its expectation under p_s,
///     p_s g of each of the K tokens, which is finite where p_s has become 0 and g has not; g of the tail
void bucket_divergence(Context& ctx, Divergence kind, const Tensor& teacher, const Tensor& student,
                       const Tensor& lse_t, const Tensor& lse_s, float tau, Tensor& loss, Tensor& slopes);

/// Phase 2. The gradient as logit_gradient's, in place of its divergence that of bucket_divergence:
///   d_logits = row_weight * (divergence_weight / tau * (slope of one of the K tokens, or p_s * the tail's)
///                            + label_weight * (softmax(student) - one at the label))
/// ids [rows, K] i32: vocabulary ids of the K tokens; d_logits [rows, vocab of this rank] = in dtype f32 or
/// bf16, may be student.
void bucket_logit_gradient(Context& ctx, const LogitGradient& what, const Tensor& student,
                           const Tensor& lse_s, const Tensor& ids, const Tensor& slopes, const Tensor& lse_1,
                           const Tensor& labels, const Tensor& row_weights, Tensor& d_logits);

}  // namespace espalier
