// The K largest logits of rows over a vocabulary that is split over ranks, and those of given tokens; the
// caller joins the ranks' parts between the phases.
//
// Logits are [rows, vocab of this rank] f32, whose first column is the vocabulary id first_id. Outputs are
// overwritten (=) and alias no input.
//
// Of a row with NaN it is not said which tokens come: a CPU passes NaN over, a device may take it for the
// largest. Its loss is NaN either way, through a token's logit or through the tail (tail_statistics).
#pragma once

#include "src/core/context.hpp"

namespace espalier {

/// values [rows, K] f32 = the K largest logits of this rank's part, largest first, and ids [rows, K] i32 =
/// their vocabulary ids; of equal ones (0 and -0 are) the lower id first. -inf is a logit as others are.
/// Where the part has fewer columns: -inf and -1. Throws UserError naming --top-k where a device's block
/// cannot sort as many.
void row_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids);
/// The same of these logits and of what values and ids hold, best first and of lower ids than first_id.
void add_to_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids);

/// Joins the ranks' parts, all_values f32 and all_ids i32 [parts, rows, K] as gathered, in the same order:
/// values, ids [rows, K] =.
void merge_top_k(Context& ctx, const Tensor& all_values, const Tensor& all_ids, Tensor& values, Tensor& ids);

/// picked [rows, K] f32 = the logits of `ids` [rows, K] i32 (< 0: none) where this rank has them, else 0; to
/// be summed over ranks.
void pick_logits(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, Tensor& picked);

}  // namespace espalier
