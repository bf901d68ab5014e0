// Logits kept within bounds (Gemma 2, 2024): cap tanh(z / cap).
#pragma once

#include "src/core/context.hpp"

namespace espalier {

/// z = cap tanh(z / cap), f32 of any shape; cap > 0. NaN stays NaN.
void soft_cap(Context& ctx, float cap, Tensor& z);

/// d *= 1 - (capped / cap)^2: from the gradient of what soft_cap left, `capped` (f32), to that of what it
/// found. d f32 or bf16, shaped as capped, which it may not be.
void soft_cap_backward(Context& ctx, float cap, const Tensor& capped, Tensor& d);

}  // namespace espalier
