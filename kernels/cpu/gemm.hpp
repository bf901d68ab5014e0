// The f32 product under the CPU's matrix kernels.
#pragma once

#include "kernels/product.hpp"

namespace espalier::cpu {

using detail::Order;
using detail::Product;

/// A matrix in memory, whose rows are `stride` apart.
struct Factor {
    const float* data;
    int64_t stride;
};
struct Result {
    float* data;
    int64_t stride;
};

/// c = or += a b, as the product says. Any size may be 0.
void gemm(Context& ctx, const Product& product, Factor a, Factor b, Result c);

}  // namespace espalier::cpu
