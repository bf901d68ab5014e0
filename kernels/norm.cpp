#include "kernels/norm.hpp"

#include "kernels/cpu/norm.hpp"
#include "kernels/cuda/norm.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

void expect_norm(const Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias,
                 const Tensor& y, const Tensor& stats) {
    const auto [rows, n] = x.dims<2>();
    expect_here(ctx, x, "x");
    expect(ctx, weight, {n}, x.dtype(), "weight");
    if (bias) expect(ctx, bias, {n}, x.dtype(), "bias");
    expect(ctx, y, {rows, n}, x.dtype(), "y");
    expect(ctx, stats, {rows, 2}, DType::f32, "stats");
}

}  // namespace

void norm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, NormOptions options,
          Tensor& y, Tensor& stats) {
    expect_norm(ctx, x, weight, bias, y, stats);
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::norm(ctx, x, weight, bias, options, y, stats);
    }
    cpu::norm(ctx, x, weight, bias, options, y, stats);
}

void add_norm(Context& ctx, const Tensor& x, const Tensor& r, const Tensor& weight, const Tensor& bias,
              NormOptions options, Tensor& sum, Tensor& y, Tensor& stats) {
    expect_norm(ctx, x, weight, bias, y, stats);
    expect(ctx, r, x.shape(), x.dtype(), "r");
    expect(ctx, sum, x.shape(), x.dtype(), "sum");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::add_norm(ctx, x, r, weight, bias, options, sum, y, stats);
    }
    cpu::add_norm(ctx, x, r, weight, bias, options, sum, y, stats);
}

void norm_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& stats,
                   NormOptions options, Tensor& dx, Tensor& dweight, Tensor& dbias) {
    const auto [rows, n] = x.dims<2>();
    expect_here(ctx, x, "x");
    expect(ctx, dy, {rows, n}, x.dtype(), "dy");
    expect(ctx, weight, {n}, x.dtype(), "weight");
    expect(ctx, stats, {rows, 2}, DType::f32, "stats");
    expect(ctx, dx, {rows, n}, x.dtype(), "dx");
    expect(ctx, dweight, {n}, DType::f32, "dweight");
    if (dbias) {
        expect(ctx, dbias, {n}, DType::f32, "dbias");
    }
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::norm_backward(ctx, dy, x, weight, stats, options, dx, dweight, dbias);
    }
    cpu::norm_backward(ctx, dy, x, weight, stats, options, dx, dweight, dbias);
}

}  // namespace espalier
