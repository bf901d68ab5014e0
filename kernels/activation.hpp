// The MLP's nonlinearity.
#pragma once

#include <optional>
#include <string_view>

#include "src/core/context.hpp"

namespace espalier {

enum class Activation {
    swiglu,  ///< silu(gate) * up (Shazeer 2020)
    geglu,   ///< gelu_tanh(gate) * up
    relu2,   ///< max(0, up)^2 (So et al. 2021)
    gelu,    ///< tanh form (Hendrycks and Gimpel 2016)
    silu,
};

/// Whether the input carries a gate before the up projection.
constexpr bool is_gated(Activation a) {
    return a == Activation::swiglu || a == Activation::geglu;
}
std::string_view to_string(Activation activation);
std::optional<Activation> activation_from_string(std::string_view name);

/// y [rows, n] = act(u); u is [rows, 2 n] = gate | up where gated, else [rows, n]. One dtype, f32 or bf16.
void activate(Context& ctx, Activation activation, const Tensor& u, Tensor& y);
/// Throws InternalError naming what is not so or not where the context's kernels run.
void expect_activation(const Context& ctx, Activation activation, const Tensor& u, const Tensor& y);

/// du = , shaped as u, which it may be.   dy [rows, n], u as in activate.
void activate_backward(Context& ctx, Activation activation, const Tensor& dy, const Tensor& u, Tensor& du);

}  // namespace espalier
