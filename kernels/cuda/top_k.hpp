// The largest logits of rows on the GPU; contracts and checks are those of kernels/top_k.hpp.
#pragma once

#include "kernels/top_k.hpp"

namespace espalier::cuda {

void row_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids);
void add_to_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids);
void merge_top_k(Context& ctx, const Tensor& all_values, const Tensor& all_ids, Tensor& values, Tensor& ids);
void pick_logits(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, Tensor& picked);

}  // namespace espalier::cuda
