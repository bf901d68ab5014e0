#include "kernels/attention.hpp"

#include "kernels/attention_heads.hpp"
#include "kernels/cpu/attention.hpp"
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_cudnn.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

void expect_valid(const AttentionShape& shape) {
    const bool counts = shape.batch >= 0 && shape.seq >= 0 && shape.query_heads >= 0 && shape.kv_heads >= 0;
    if (!counts || shape.head_dim < 1 || shape.group < 1 || shape.first_in_group < 0 || shape.window < 0 ||
        shape.soft_cap < 0 || !(shape.scale > 0)) {
        throw InternalError(
            fmt::format("attention: impossible shape: batch {}, seq {}, heads {} + {} of {}, "
                        "group {} from {}, window {}, soft cap {}, scale {}",
                        shape.batch, shape.seq, shape.query_heads, shape.kv_heads, shape.head_dim,
                        shape.group, shape.first_in_group, shape.window, shape.soft_cap, shape.scale));
    }
    if (shape.query_heads > 0 && kv_head_of(shape, shape.query_heads - 1) >= shape.kv_heads) {
        throw InternalError(
            fmt::format("attention: {} query heads from place {} of a group of {} read beyond "
                        "{} KV heads",
                        shape.query_heads, shape.first_in_group, shape.group, shape.kv_heads));
    }
}

void expect_starts(const Context& ctx, const Tensor& starts, int64_t tokens) {
    if (starts) expect(ctx, starts, {tokens}, DType::i32, "starts");
}

}  // namespace

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse) {
    expect_valid(shape);
    const int64_t tokens = shape.batch * shape.seq, queries = shape.query_heads * shape.head_dim;
    expect(ctx, qkv, {tokens, qkv_width(shape)}, "qkv");
    expect_starts(ctx, starts, tokens);
    expect(ctx, o, {tokens, queries}, qkv.dtype(), "o");
    expect(ctx, lse, {shape.batch, shape.query_heads, shape.seq}, DType::f32, "lse");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::attention(ctx, qkv, starts, shape, o, lse);
    }
    cpu::attention(ctx, qkv, starts, shape, o, lse);
}

void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv) {
    expect_valid(shape);
    const int64_t tokens = shape.batch * shape.seq, queries = shape.query_heads * shape.head_dim;
    expect(ctx, qkv, {tokens, qkv_width(shape)}, "qkv");
    expect_starts(ctx, starts, tokens);
    expect(ctx, d_o, {tokens, queries}, qkv.dtype(), "d_o");
    expect(ctx, o, {tokens, queries}, qkv.dtype(), "o");
    expect(ctx, lse, {shape.batch, shape.query_heads, shape.seq}, DType::f32, "lse");
    expect(ctx, dqkv, qkv.shape(), qkv.dtype(), "dqkv");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::attention_backward(ctx, d_o, qkv, starts, o, lse, shape, dqkv);
    }
    cpu::attention_backward(ctx, d_o, qkv, starts, o, lse, shape, dqkv);
}

int64_t attention_scratch(Context& ctx, DType dtype, const AttentionShape& shape) {
    expect_valid(shape);
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::cudnn::scratch(ctx, dtype, shape);
    }
    return cpu::attention_bytes(dtype, shape, ctx.threads()) +
           cpu::attention_backward_bytes(dtype, shape, ctx.threads());
}

void attention_cached(Context& ctx, const Tensor& q, const Tensor& keys, const Tensor& values, int64_t length,
                      const AttentionShape& shape, Tensor& o) {
    expect_valid(shape);
    const auto [tokens, width] = q.dims<2>();
    const int64_t capacity = keys.dim(0);
    if (shape.batch != 1 || shape.seq != tokens || length < tokens || length > capacity) {
        throw InternalError(
            fmt::format("attention_cached: batch {}, seq {}, {} tokens, length {}, capacity {}", shape.batch,
                        shape.seq, tokens, length, capacity));
    }
    expect(ctx, q, {tokens, shape.query_heads * shape.head_dim}, "q");
    expect(ctx, keys, {capacity, shape.kv_heads * shape.head_dim}, q.dtype(), "keys");
    expect(ctx, values, {capacity, shape.kv_heads * shape.head_dim}, q.dtype(), "values");
    expect(ctx, o, q.shape(), q.dtype(), "o");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::attention_cached(ctx, q, keys, values, length, shape, o);
    }
    cpu::attention_cached(ctx, q, keys, values, length, shape, o);
}

}  // namespace espalier
