#include "kernels/qk_norm.hpp"

#include "kernels/cpu/qk_norm.hpp"
#include "kernels/cuda/qk_norm.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

void expect_all(const Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
                HeadCounts heads, const Tensor& rstd) {
    const auto [tokens, width] = x.dims<2>();
    const auto [dims] = query_weight.dims<1>();
    if (heads.all() * dims != width) {
        throw InternalError(fmt::format("qk_norm: {} query and {} KV heads of {} are no rows of {}",
                                        heads.query, heads.kv, dims, width));
    }
    expect_here(ctx, x, "x");
    expect(ctx, query_weight, {dims}, x.dtype(), "query_weight");
    expect(ctx, key_weight, {dims}, x.dtype(), "key_weight");
    expect(ctx, rstd, {tokens, heads.normed()}, DType::f32, "rstd");
}

}  // namespace

void qk_norm(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
             HeadCounts heads, float eps, Tensor& y, Tensor& rstd) {
    expect_all(ctx, x, query_weight, key_weight, heads, rstd);
    expect(ctx, y, x.shape(), x.dtype(), "y");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::qk_norm(ctx, x, query_weight, key_weight, heads, eps, y, rstd);
    }
    cpu::qk_norm(ctx, x, query_weight, key_weight, heads, eps, y, rstd);
}

void qk_norm_backward(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
                      HeadCounts heads, const Tensor& rstd, Tensor& d, Tensor& d_query_weight,
                      Tensor& d_key_weight) {
    expect_all(ctx, x, query_weight, key_weight, heads, rstd);
    expect(ctx, d, x.shape(), x.dtype(), "d");
    expect(ctx, d_query_weight, query_weight.shape(), DType::f32, "d_query_weight");
    expect(ctx, d_key_weight, key_weight.shape(), DType::f32, "d_key_weight");
    if constexpr (has_cuda) {
        if (ctx.on_gpu())
            return cuda::qk_norm_backward(ctx, x, query_weight, key_weight, heads, rstd, d, d_query_weight,
                                          d_key_weight);
    }
    cpu::qk_norm_backward(ctx, x, query_weight, key_weight, heads, rstd, d, d_query_weight, d_key_weight);
}

}  // namespace espalier
