// Matrix products of bf16 in AMX tiles, from operands that lie in memory as models and activations do.
#pragma once

#include "kernels/product.hpp"

namespace espalier::cpu {

using detail::Order;
using detail::Product;

/// Whether amx_matmul is there and faster than oneDNN: the processor has tiles, and no side of the product is
/// less than 32, what four of them hold.
bool suits_amx(const Product& product);

/// c = or += a b + bias [columns], as the product says; bias may be empty. a, b, bias bf16, c bf16 or f32; no
/// size is 0. Sums in f32; in f32 c those of depths beyond 1024 are grouped otherwise at its edges than
/// inside.
void amx_matmul(Context& ctx, const Product& product, const Tensor& a, const Tensor& b, const Tensor& bias,
                Tensor& c);

}  // namespace espalier::cpu
