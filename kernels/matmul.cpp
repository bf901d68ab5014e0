#include "kernels/matmul.hpp"

#include "kernels/cpu/matmul.hpp"
#include "kernels/cuda/matmul.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

/// A result may be wider than its factors: their dtype, or f32.
void expect_result(const Context& ctx, const Tensor& result, const Shape& shape, DType factors,
                   const char* what) {
    expect(ctx, result, shape, what);
    if (result.dtype() != DType::f32) expect_dtype(result, factors, what);
}

}  // namespace

void matmul(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y, Store store) {
    const auto [m, k] = x.dims<2>();
    const int64_t n = w.dim(0);
    expect_here(ctx, x, "x");
    expect(ctx, w, {n, k}, x.dtype(), "w");
    if (bias) expect(ctx, bias, {n}, x.dtype(), "bias");
    expect_result(ctx, y, {m, n}, x.dtype(), "y");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::matmul(ctx, x, w, bias, y, store);
    }
    cpu::matmul(ctx, x, w, bias, y, store);
}

void matmul_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, Tensor& dx, Store store) {
    const auto [m, n] = dy.dims<2>();
    const int64_t k = w.dim(1);
    expect_here(ctx, dy, "dy");
    expect(ctx, w, {n, k}, dy.dtype(), "w");
    expect_result(ctx, dx, {m, k}, dy.dtype(), "dx");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::matmul_backward_input(ctx, dy, w, dx, store);
    }
    cpu::matmul_backward_input(ctx, dy, w, dx, store);
}

void matmul_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, Tensor& dw) {
    const auto [m, n] = dy.dims<2>();
    const int64_t k = x.dim(1);
    expect_here(ctx, dy, "dy");
    expect(ctx, x, {m, k}, dy.dtype(), "x");
    expect(ctx, dw, {n, k}, DType::f32, "dw");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::matmul_backward_weight(ctx, dy, x, dw);
    }
    cpu::matmul_backward_weight(ctx, dy, x, dw);
}

void bias_backward(Context& ctx, const Tensor& dy, Tensor& dbias) {
    const int64_t n = dy.dims<2>()[1];
    expect_here(ctx, dy, "dy");
    expect(ctx, dbias, {n}, DType::f32, "dbias");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::bias_backward(ctx, dy, dbias);
    }
    cpu::bias_backward(ctx, dy, dbias);
}

bool has_native_matmul(const Context& ctx, DType dtype) {
    if (ctx.on_gpu()) return true;
    return cpu::has_native_matmul(dtype);
}

bool multiplies_faster_than_memory(Device device, DType dtype) {
    return device == Device::cpu && cpu::has_tiles(dtype);
}

}  // namespace espalier
