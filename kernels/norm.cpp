#include "kernels/norm.hpp"

#include "kernels/cpu/norm.hpp"
#include "kernels/cuda/norm.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void norm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, NormOptions options,
          Tensor& y, Tensor& stats) {
    const auto [rows, n] = x.dims<2>();
    expect_shape(weight, {n}, "weight");
    expect_dtype(weight, x.dtype(), "weight");
    if (bias) {
        expect_shape(bias, {n}, "bias");
        expect_dtype(bias, x.dtype(), "bias");
    }
    expect_shape(y, {rows, n}, "y");
    expect_dtype(y, x.dtype(), "y");
    expect_shape(stats, {rows, 2}, "stats");
    expect_dtype(stats, DType::f32, "stats");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::norm(ctx, x, weight, bias, options, y, stats);
    }
    cpu::norm(ctx, x, weight, bias, options, y, stats);
}

void norm_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& stats,
                   NormOptions options, Tensor& dx, Tensor& dweight, Tensor& dbias) {
    const auto [rows, n] = x.dims<2>();
    expect_shape(dy, {rows, n}, "dy");
    expect_dtype(dy, x.dtype(), "dy");
    expect_shape(weight, {n}, "weight");
    expect_dtype(weight, x.dtype(), "weight");
    expect_shape(stats, {rows, 2}, "stats");
    expect_dtype(stats, DType::f32, "stats");
    expect_shape(dx, {rows, n}, "dx");
    expect_dtype(dx, x.dtype(), "dx");
    expect_shape(dweight, {n}, "dweight");
    expect_dtype(dweight, DType::f32, "dweight");
    if (dbias) {
        expect_shape(dbias, {n}, "dbias");
        expect_dtype(dbias, DType::f32, "dbias");
    }
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::norm_backward(ctx, dy, x, weight, stats, options, dx, dweight, dbias);
    }
    cpu::norm_backward(ctx, dy, x, weight, stats, options, dx, dweight, dbias);
}

}  // namespace espalier
