#include "kernels/cpu/gemm.hpp"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "src/core/exact.hpp"

namespace espalier::cpu {
namespace {

/// Side of the tiles that a large product is cut into. On a vocabulary of 49152 columns and 256 tokens oneDNN
/// alone reaches 0.80 of its best rate, in tiles 0.90 (Zen 3); with 512 tokens there is no difference.
constexpr int64_t tile_side = 1024;
constexpr int64_t tiles_per_thread = 8;  // fewer leave threads waiting for the last one

char letter(Order order) {
    return order == Order::transposed ? 'T' : 'N';
}

void check_dnnl(int status) {
    if (status != dnnl_success) throw InternalError(fmt::format("dnnl_sgemm failed with status {}", status));
}

}  // namespace

void gemm(Context& ctx, const Product& product, Factor a, Factor b, Result c) {
    const int64_t rows = product.rows, columns = product.columns;
    if (rows == 0 || columns == 0) return;
    if (product.depth == 0) {
        if (product.store == Store::accumulate) return;
        for (int64_t i = 0; i < rows; ++i) std::fill_n(c.data + i * c.stride, columns, 0.0f);
        return;
    }
    const float beta = product.store == Store::accumulate ? 1.0f : 0.0f;
    const auto part = [&](Range r, Range s) -> int {
        const float* const left =
            a.data + (product.a_order == Order::transposed ? r.begin : r.begin * a.stride);
        const float* const right =
            b.data + (product.b_order == Order::transposed ? s.begin * b.stride : s.begin);
        return dnnl_sgemm(letter(product.a_order), letter(product.b_order), r.size(), s.size(), product.depth,
                          1.0f, left, a.stride, right, b.stride, beta, c.data + r.begin * c.stride + s.begin,
                          c.stride);
    };
    const int64_t down = div_ceil(rows, tile_side), across = div_ceil(columns, tile_side);
    if (down * across < tiles_per_thread * ctx.threads()) {
        return check_dnnl(part({0, rows}, {0, columns}));
    }
    int status = dnnl_success;
#pragma omp parallel for num_threads(ctx.threads()) schedule(dynamic) reduction(max : status)
    for (int64_t i = 0; i < down * across; ++i) {
        status = std::max(status,
                          part(split_evenly(rows, down, i % down), split_evenly(columns, across, i / down)));
    }
    check_dnnl(status);
}

}  // namespace espalier::cpu
