#include "kernels/activation.hpp"

#include "kernels/cpu/activation.hpp"
#include "kernels/cuda/activation.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

void expect_input(Activation activation, const Tensor& u, int64_t rows, int64_t n) {
    expect_shape(u, {rows, is_gated(activation) ? 2 * n : n}, "u");
}

}  // namespace

void activate(Context& ctx, Activation activation, const Tensor& u, Tensor& y) {
    const auto [rows, n] = y.dims<2>();
    expect_input(activation, u, rows, n);
    expect_dtype(y, u.dtype(), "y");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::activate(ctx, activation, u, y);
    }
    cpu::activate(ctx, activation, u, y);
}

void activate_backward(Context& ctx, Activation activation, const Tensor& dy, const Tensor& u, Tensor& du) {
    const auto [rows, n] = dy.dims<2>();
    expect_input(activation, u, rows, n);
    expect_dtype(dy, u.dtype(), "dy");
    expect_shape(du, u.shape(), "du");
    expect_dtype(du, u.dtype(), "du");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::activate_backward(ctx, activation, dy, u, du);
    }
    cpu::activate_backward(ctx, activation, dy, u, du);
}

}  // namespace espalier
