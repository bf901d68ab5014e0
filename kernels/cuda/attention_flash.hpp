// Attention in bf16 on the tensor cores (Dao et al. 2022; Dao 2023).
#pragma once

#include "kernels/attention.hpp"

namespace espalier::cuda::flash {

/// Whether these kernels take the shape: bf16, heads of 16, 32, ... 256.
bool fits(DType dtype, const AttentionShape& shape);

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse);
/// delta [batch, query_heads, seq] f32: the sum over head_dim of d_o o.
void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& lse, const Tensor& delta, const AttentionShape& shape, Tensor& dqkv);

}  // namespace espalier::cuda::flash
