// The K largest logits of rows over a vocabulary that is split over ranks, and those of given tokens; the
// caller joins the ranks' parts between the phases.
#pragma once

#include "src/core/context.hpp"

namespace espalier {

/// values [rows, K] f32 = the K largest logits of this rank's part, largest first, and ids [rows, K] i32 =
/// their vocabulary ids; of equal ones the lower id first. Where the part has fewer columns: -inf and -1.
void row_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids);

/// Joins the ranks' parts, as gathered [parts, rows, K], in the same order: values, ids [rows, K].
void merge_top_k(Context& ctx, const Tensor& all_values, const Tensor& all_ids, Tensor& values, Tensor& ids);

/// picked [rows, K] f32 = the logits of `ids` [rows, K] where this rank has them, else 0; to be summed over
/// ranks.
void pick_logits(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, Tensor& picked);

}  // namespace espalier
