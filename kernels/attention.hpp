// Causal grouped-query attention (Ainslie et al. 2023) over blocks of keys, never holding seq x seq scores
// of more than a block (Dao et al. 2022).
#pragma once

#include "src/core/context.hpp"

namespace espalier {

struct AttentionShape {
    int64_t batch = 1;        ///< sequences in the tensor, one after another
    int64_t seq = 0;          ///< tokens of each
    int64_t query_heads = 0;  ///< of this rank
    int64_t kv_heads = 0;     ///< of this rank
    int64_t head_dim = 0;
    int64_t group = 1;           ///< query heads that share a KV head, over the whole model
    int64_t first_in_group = 0;  ///< place of query head 0: head h reads KV head (first_in_group + h) / group
    float scale = 1.0f;          ///< of the scores, above 0; usually 1 / sqrt(head_dim)
    int64_t window = 0;          ///< key k is visible to query q when 0 <= q - k < window; 0: all before q
    float soft_cap = 0;  ///< scores become soft_cap tanh(score / soft_cap) (Gemma 2, 2024); 0: they stay
};

/// o = softmax(scores, causal) v, scores = scale q k^T, capped where the shape says so.
///   qkv     [batch * seq, (query_heads + 2 kv_heads) * head_dim]  f32 or bf16: query, key, value heads
///   starts  [batch * seq] i32: the first key of its sequence that a query may see, which is where its
///           document starts: at most the query itself, never falling within a sequence. Empty: 0 for all
///   o       [batch * seq, query_heads * head_dim]   =, dtype of qkv
///   lse     [batch, query_heads, seq]               =, f32: log sum exp of the scores, for backward
/// Scores, softmax and sums in f32. query_heads may be 0. Outputs alias no input, here and in all that
/// follow.
void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse);

/// dqkv =, shaped as qkv; the query heads of a group add up in their KV head. The rest as in attention.
void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv);

/// Bytes that attention and attention_backward of such a shape without `starts` take from ctx, which keeps
/// them for the next, beside their arguments: on a CPU packed heads, on a GPU what a library asks for, which
/// can be batch * query_heads * seq^2 elements, and of our own kernels there nothing worth counting.
int64_t attention_scratch(Context& ctx, DType dtype, const AttentionShape& shape);

/// Attention of new tokens over a cache that already holds their keys and values (generation).
///   q       [tokens, query_heads * head_dim]  f32 or bf16, as all here: the last `tokens` positions of the
///                                             sequence, rotated
///   keys, values  [capacity, kv_heads * head_dim]       rows 0 .. length - 1 are valid; length >= tokens
///   o       [tokens, query_heads * head_dim]  =
/// shape.batch is 1 and shape.seq is tokens.
void attention_cached(Context& ctx, const Tensor& q, const Tensor& keys, const Tensor& values, int64_t length,
                      const AttentionShape& shape, Tensor& o);

}  // namespace espalier
