// Losses over a vocabulary that is split over ranks, in phases; the caller joins the ranks' partial
// statistics between them. Notation: z logits, tau temperature, p = softmax(z / tau), t teacher, s student.
//
// Logits are [rows, vocab of this rank] f32, whose first column is the vocabulary id first_id; a rank may
// have no columns. tau > 0. Outputs are overwritten (=) and alias no input but where it says so; sums join in
// double, in an order that does not depend on the number of threads.
//
// A logit of NaN or +inf makes its row's sum of exponentials NaN, and so lse, and every loss and gradient
// made of it. -inf is a token of probability 0: mse, cosine and cross entropy of other labels take it so; in
// the logarithms of kl, reverse_kl and jsd it makes the row's sums infinite or NaN.
#pragma once

#include <optional>
#include <string_view>

#include "src/core/context.hpp"

namespace espalier {

/// Divergence of the student's distribution from the teacher's, per token, over the whole vocabulary.
enum class Divergence {
    kl,          ///< sum p_t log(p_t / p_s)
    reverse_kl,  ///< sum p_s log(p_s / p_t)
    jsd,         ///< half of each against their mean
    tvd,         ///< half of sum |p_t - p_s|, the total variation distance
    mse,         ///< sum (p_t - p_s)^2
    cosine,      ///< 1 - cos(p_t, p_s)
};
std::string_view to_string(Divergence divergence);
std::optional<Divergence> divergence_from_string(std::string_view name);

/// Phase 1. For each row of logits: stats [rows, 2] f32 =
///   max of z / tau, NaN left aside, and sum exp(z / tau - max), over this rank's part. No columns: -inf, 0.
void softmax_statistics(Context& ctx, const Tensor& logits, float tau, Tensor& stats);

/// The same over the tokens that are not among ids [rows, K] i32 (vocabulary ids; < 0: none), by one more
/// read of the logits: where the K tokens are nearly all, the whole sum less theirs has no digit left.
void tail_statistics(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, float tau,
                     Tensor& stats);

/// Joins the parts of `parts` ranks: all [parts, rows, 2] as gathered -> lse [rows] f32 = log sum exp(z /
/// tau), natural; -inf where there are no tokens.
void softmax_combine(Context& ctx, const Tensor& all, Tensor& lse);

/// labelled [rows] f32 = the logit of the row's label where this rank holds it, else 0, to be summed over
/// ranks. labels [rows] i32 (a label < 0 is masked: nobody holds it).
void label_logits(Context& ctx, const Tensor& logits, const Tensor& labels, int64_t first_id,
                  Tensor& labelled);

/// Both sides' logits, [rows, vocab of this rank] f32, and lse_t, lse_s [rows] f32 = log sum exp(z / tau) of
/// their rows over all ranks, at one tau.
struct Sides {
    Tensor teacher, student;
    Tensor lse_t, lse_s;
};
/// Throws InternalError naming what is not so or not where the context's kernels run.
void expect_sides(const Context& ctx, const Sides& sides);

/// Number of partial sums a row of divergence_sums holds.
constexpr int64_t divergence_sum_count = 3;

/// Phase 2. sums [rows, divergence_sum_count] f32 = this rank's part of what the loss and its gradient need
/// (divergence_terms.hpp); to be summed over ranks.
void divergence_sums(Context& ctx, Divergence kind, const Sides& sides, float tau, Tensor& sums);

/// loss [rows] f32 = the divergence (kl, reverse_kl and jsd in nats), from sums over all ranks.
void divergence_loss(Context& ctx, Divergence kind, const Tensor& sums, Tensor& loss);

/// The objective: divergence_weight * D(teacher, student; tau) + label_weight * cross entropy(student,
/// labels; tau 1), each row times its row_weight.
struct LossWeights {
    std::optional<Divergence> divergence;  ///< none: cross entropy alone
    float tau = 1.0f;
    float divergence_weight = 1.0f;
    float label_weight = 0.0f;
};

/// What its gradient is made of. Without a divergence sides has the student's logits alone and sums is empty;
/// lse_1 and labels are read where label_weight is not 0.
struct LossInputs {
    Sides sides;           ///< at tau
    Tensor sums;           ///< as in phase 2, over all ranks
    Tensor lse_1;          ///< [rows] f32: the student's at tau = 1
    Tensor labels;         ///< [rows] i32; < 0: no label term
    Tensor row_weights;    ///< [rows] f32
    int64_t first_id = 0;  ///< of this rank's vocabulary
};

/// As expect_sides, of what a gradient reads whatever the divergence, and of the gradient.
void expect_gradient(const Context& ctx, const LossWeights& weights, const LossInputs& in,
                     const Tensor& d_logits);

/// Phase 3. d_logits [rows, vocab of this rank] = the objective's gradient with respect to the student's
/// logits, in dtype f32 or bf16; may be the student's logits themselves. A row of weight 0 is 0, whatever its
/// logits are.
void logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits);

/// Phases 2 and 3 in one read of the logits, for kl, whose gradient needs no sums: d_logits as logit_gradient
/// makes it, without in.sums, and sums as divergence_sums, 0 for rows of weight 0. weights.divergence is kl.
void kl_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits,
                 Tensor& sums);

/// best [rows, 2] f32 = largest logit of this rank's part and its vocabulary id (the lowest on a tie; exact
/// up to 2^24 ids). NaN is never the largest; where no column holds a number: -inf and -1.
void row_argmax(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& best);

}  // namespace espalier
