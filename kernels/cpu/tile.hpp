// The inner product of blocked kernels: a tile of the result held in registers, 6 x 16 as 12 AVX2 vectors.
#pragma once

#include <cstdint>

#include "kernels/matmul.hpp"

namespace espalier::cpu {

constexpr int64_t tile_rows = 6;
constexpr int64_t tile_columns = 16;

/// Elements of a matrix: (i, j) is at data[i * row + j * column].
struct Strided {
    const float* data;
    int64_t row;
    int64_t column = 1;
};

/// c [6, 16] = or += a [6, depth] b [depth, 16]; the columns of b and c are adjacent.
template <Store store>
inline void multiply_tile(Strided a, Strided b, int64_t depth, float* c, int64_t c_row) {
    constexpr int64_t lanes = 8;
    using Vector =
        float __attribute__((vector_size(lanes * sizeof(float)), aligned(sizeof(float)), may_alias));
    const auto at = [](auto* p) -> auto& {
        return *reinterpret_cast<Vector*>(p);
    };
    const auto read = [](const float* p) { return *reinterpret_cast<const Vector*>(p); };
    Vector left[tile_rows] = {}, right[tile_rows] = {};
    const float* row = b.data;
    const float* column = a.data;
    for (int64_t k = 0; k < depth; ++k, row += b.row, column += a.column) {
        const Vector b_left = read(row), b_right = read(row + lanes);
#pragma GCC unroll 6
        for (int64_t i = 0; i < tile_rows; ++i) {
            const float factor = column[i * a.row];
            left[i] += factor * b_left;
            right[i] += factor * b_right;
        }
    }
#pragma GCC unroll 6
    for (int64_t i = 0; i < tile_rows; ++i) {
        float* out = c + i * c_row;
        if constexpr (store == Store::accumulate) {
            left[i] += read(out);
            right[i] += read(out + lanes);
        }
        at(out) = left[i];
        at(out + lanes) = right[i];
    }
}

}  // namespace espalier::cpu
