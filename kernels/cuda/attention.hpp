// Attention on the GPU; contracts and checks are those of kernels/attention.hpp.
#pragma once

#include "kernels/attention.hpp"

namespace espalier::cuda {

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse);
void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv);
void attention_cached(Context& ctx, const Tensor& q, const Tensor& keys, const Tensor& values, int64_t length,
                      const AttentionShape& shape, Tensor& o);

/// The first two by our own kernels, which take everything; attention and attention_backward ask cuDNN first
/// (attention_cudnn.hpp).
void own_attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape,
                   Tensor& o, Tensor& lse);
void own_attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                            const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv);

}  // namespace espalier::cuda
