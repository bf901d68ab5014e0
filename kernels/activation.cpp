#include "kernels/activation.hpp"

#include <array>
#include <utility>

#include "kernels/cpu/activation.hpp"
#include "kernels/cuda/activation.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

constexpr std::array names{
    std::pair{Activation::swiglu, std::string_view("swiglu")},
    std::pair{Activation::geglu, std::string_view("geglu")},
    std::pair{Activation::relu2, std::string_view("relu2")},
    std::pair{Activation::gelu, std::string_view("gelu")},
    std::pair{Activation::silu, std::string_view("silu")},
};

void expect_input(Activation activation, const Tensor& u, int64_t rows, int64_t n) {
    expect_shape(u, {rows, is_gated(activation) ? 2 * n : n}, "u");
}

}  // namespace

std::string_view to_string(Activation activation) {
    for (const auto& [value, name] : names) {
        if (value == activation) return name;
    }
    throw InternalError("unknown activation");
}

std::optional<Activation> activation_from_string(std::string_view wanted) {
    for (const auto& [value, name] : names) {
        if (name == wanted) return value;
    }
    return std::nullopt;
}

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
