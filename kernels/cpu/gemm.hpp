// The f32 product under the CPU's matrix kernels.
#pragma once

#include "src/core/context.hpp"

namespace espalier::cpu {

enum class Order { as_stored, transposed };

/// A factor of a product; its rows in memory are `stride` apart.
struct Factor {
    const float* data;
    int64_t stride;
    Order order = Order::as_stored;
};

/// c [rows, columns] = a [rows, depth] b [depth, columns] + beta c, beta 0 or 1; the factors' shapes are
/// those after transposing, rows of c are c_stride apart. Any size may be 0.
void gemm(Context& ctx, Factor a, Factor b, int64_t rows, int64_t columns, int64_t depth, float beta,
          float* c, int64_t c_stride);

}  // namespace espalier::cpu
