// Attention in bf16 as cuDNN has it: its graphs of scaled dot product attention. attention_cudnn.cpp where
// the build is with the library (ESPALIER_CUDNN, adr/0016), attention_no_cudnn.cpp where not.
#pragma once

#include "kernels/attention.hpp"

namespace espalier::cuda::cudnn {

/// Whether this build is with the library. Where it is not, nothing below takes anything.
bool linked();

/// attention of kernels/attention.hpp where the library takes the call; otherwise false, with o and lse as
/// they were. It takes bf16 with heads of 8, 16, ... 256 dims, no cap, no starts, and query heads that read
/// every KV head equally often, in order; of these what its version has an engine for on this card. lse is
/// what it calls stats: natural logarithms in our layout, so that either's backward follows either's forward.
bool attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse);

/// attention_backward of kernels/attention.hpp, likewise. Repeats bit for bit, for which the library may want
/// memory of batch * query_heads * seq^2 elements; more than 6 GiB is not given.
bool attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv);

/// Bytes that the larger of the two takes from ctx while it runs; 0 of what the library does not take.
int64_t scratch(Context& ctx, DType dtype, const AttentionShape& shape);

}  // namespace espalier::cuda::cudnn
