#include "kernels/activation.hpp"

#include "kernels/cpu/activation.hpp"
#include "kernels/cuda/activation.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

void expect_input(const Context& ctx, Activation activation, const Tensor& u, int64_t rows, int64_t n) {
    expect(ctx, u, {rows, is_gated(activation) ? 2 * n : n}, "u");
}

}  // namespace

void expect_activation(const Context& ctx, Activation activation, const Tensor& u, const Tensor& y) {
    const auto [rows, n] = y.dims<2>();
    expect_input(ctx, activation, u, rows, n);
    expect(ctx, y, {rows, n}, u.dtype(), "y");
}

void activate(Context& ctx, Activation activation, const Tensor& u, Tensor& y) {
    expect_activation(ctx, activation, u, y);
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::activate(ctx, activation, u, y);
    }
    cpu::activate(ctx, activation, u, y);
}

void activate_backward(Context& ctx, Activation activation, const Tensor& dy, const Tensor& u, Tensor& du) {
    const auto [rows, n] = dy.dims<2>();
    expect_input(ctx, activation, u, rows, n);
    expect(ctx, dy, {rows, n}, u.dtype(), "dy");
    expect(ctx, du, u.shape(), u.dtype(), "du");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::activate_backward(ctx, activation, dy, u, du);
    }
    cpu::activate_backward(ctx, activation, dy, u, du);
}

}  // namespace espalier
