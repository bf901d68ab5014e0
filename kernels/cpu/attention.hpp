// Attention on the CPU; contracts and checks are those of kernels/attention.hpp.
#pragma once

#include "kernels/attention.hpp"

namespace espalier::cpu {

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse);
void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv);
/// Bytes that each of them takes from a context of so many threads.
int64_t attention_bytes(DType dtype, const AttentionShape& shape, int threads);
int64_t attention_backward_bytes(DType dtype, const AttentionShape& shape, int threads);
void attention_cached(Context& ctx, const Tensor& q, const Tensor& keys, const Tensor& values, int64_t length,
                      const AttentionShape& shape, Tensor& o);

}  // namespace espalier::cpu
