// A divergence over the teacher's K most likely tokens, found by top_k.hpp, and one bucket for all the
// others, on both sides. Notation as in divergence.hpp; a bucket is one of the K tokens or, last, the tail.
#pragma once

#include "kernels/divergence.hpp"

namespace espalier {

/// Logits of a row's buckets on both sides; a side's z / tau may be off by a constant of the row.
struct Buckets {
    Tensor ids;               ///< [rows, K] i32: vocabulary ids of the K tokens
    Tensor teacher, student;  ///< [rows, K] f32: their logits
    Tensor tail_t, tail_s;    ///< [rows] f32: log sum exp(z / tau) of all others over all ranks; -inf: none
};

/// Phase 1, the same on every rank; in logarithms of probabilities, so that a tail may be of any size. An
/// empty one has the probability 0.
///   loss [rows] f32 = D over K + 1 buckets, whose probabilities sum to 1 on both sides
///   slopes [rows, K + 1] f32 = dD / d(z_s / tau) of each of the K tokens, and the sum of all others'
void bucket_divergence(Context& ctx, Divergence kind, const Buckets& buckets, float tau, Tensor& loss,
                       Tensor& slopes);

/// Phase 2. The gradient as logit_gradient's, in place of its divergence that of bucket_divergence:
///   d_logits = row_weight * (divergence_weight / tau
///                                * (slope of one of the K tokens, or exp(z_s / tau - tail_s) * the tail's)
///                            + label_weight * (softmax(student) - one at the label))
/// Of in.sides the student's logits are read, of the buckets ids and tail_s, which must be of these logits'
/// own z / tau; in.sums is not.
void bucket_logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in,
                           const Buckets& buckets, const Tensor& slopes, Tensor& d_logits);

}  // namespace espalier
