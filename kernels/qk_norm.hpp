// RMSNorm of every query head and every key head by itself, before they are turned by their positions
// (QK-norm as in Qwen3).
#pragma once

#include "src/core/context.hpp"

namespace espalier {

/// The heads of a token, in the order they stand in: queries, keys, values.
struct HeadCounts {
    int64_t query = 0;
    int64_t kv = 0;
    int64_t normed() const { return query + kv; }
    int64_t all() const { return query + 2 * kv; }
};

/// y = weight * x * rstd with rstd = 1 / sqrt(mean(x^2) + eps) for each query head and each key head,
/// statistics in f32; value heads stay.
///   x             [tokens, all heads * head_dim]   f32 or bf16
///   query_weight  [head_dim]   dtype of x, of all query heads; key_weight of all key heads
///   y             =, of x's shape and dtype; may be x itself
///   rstd          [tokens, normed heads] =, f32, for the backward pass
void qk_norm(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
             HeadCounts heads, float eps, Tensor& y, Tensor& rstd);

/// d: the gradient of y -> = that of x, in place; d_query_weight, d_key_weight [head_dim] f32 +=. d of x's
/// shape and dtype, aliasing nothing; the others as in qk_norm.
void qk_norm_backward(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
                      HeadCounts heads, const Tensor& rstd, Tensor& d, Tensor& d_query_weight,
                      Tensor& d_key_weight);

}  // namespace espalier
