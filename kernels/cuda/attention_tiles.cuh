// Products of tiles on the tensor cores, for attention: bf16 factors in shared memory, f32 sums in registers.
// A warp has 16 rows of the result; tiles are padded to D columns, and rows stand 8 elements (16 bytes)
// farther apart than that, so that the eight rows which load_matrices reads at a time lie in different banks.
#pragma once

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/reduce.cuh"

namespace espalier::cuda::flash {

using bf16 = __nv_bfloat16;

constexpr int warps = 4;
constexpr int threads = warps * warp;
constexpr int warp_rows = 16;
constexpr int block_rows = warps * warp_rows;
constexpr int gap = 8;

__device__ inline int lane() {
    return static_cast<int>(threadIdx.x) % warp;
}
__device__ inline int warp_index() {
    return static_cast<int>(threadIdx.x) / warp;
}

/// A warp's [16, 8 N] of a result: element e of part j is at row lane / 4 + 8 (e / 2), column 8 j + 2 (lane %
/// 4) + e % 2.
template <int N>
struct Rows {
    float part[N][4] = {};
};
__device__ inline int row_of(int e) {
    return lane() / 4 + 8 * (e / 2);
}
__device__ inline int column_of(int j, int e) {
    return 8 * j + 2 * (lane() % 4) + e % 2;
}

/// All threads: tile [rows, D] = `valid` rows from `from` on (of `width` elements, a multiple of 8, `stride`
/// apart), the rest 0.
template <int D, int rows>
__device__ void load_tile(bf16* tile, const bf16* from, int64_t stride, int64_t valid, int width) {
    for (int i = static_cast<int>(threadIdx.x); i < rows * (D / 8); i += threads) {
        const int row = i / (D / 8), column = i % (D / 8) * 8;
        const bool inside = row < valid && column < width;
        store_16_bytes(tile + row * (D + gap) + column,
                       inside ? load_16_bytes(from + row * stride + column) : uint4{0, 0, 0, 0});
    }
}

/// sum [16, 8 N] += a [16, D] b [8 N, D]^T; a is the warp's first row.
template <int D, int N>
__device__ void multiply_transposed(Rows<N>& sum, const bf16* a, const bf16* b) {
    for (int k = 0; k < D; k += 16) {
        uint32_t left[4];
        load_matrices(left, a + lane() % 16 * (D + gap) + k + lane() / 16 * 8);
        for (int j = 0; j < N; j += 2) {
            uint32_t right[4];
            load_matrices(right,
                          b + (8 * j + lane() / 16 * 8 + lane() % 8) * (D + gap) + k + lane() / 8 % 2 * 8);
            const uint32_t first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
            multiply_add(sum.part[j], left, first);
            multiply_add(sum.part[j + 1], left, second);
        }
    }
}

__device__ inline uint32_t pair_of(float low, float high) {
    return static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16(low))) |
           static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16(high))) << 16;
}

/// sum [16, D] += a [16, 8 N] b [8 N, D], a rounded to bf16 on its way: a result's layout is that of a
/// factor.
template <int D, int N>
__device__ void multiply(Rows<D / 8>& sum, const Rows<N>& a, const bf16* b) {
    for (int k = 0; k < N; k += 2) {
        const auto& low = a.part[k];
        const auto& high = a.part[k + 1];
        const uint32_t left[4] = {pair_of(low[0], low[1]), pair_of(low[2], low[3]), pair_of(high[0], high[1]),
                                  pair_of(high[2], high[3])};
        for (int j = 0; j < D / 8; j += 2) {
            uint32_t right[4];
            load_matrices_transposed(right, b + (8 * k + lane() % 16) * (D + gap) + 8 * j + lane() / 16 * 8);
            const uint32_t first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
            multiply_add(sum.part[j], left, first);
            multiply_add(sum.part[j + 1], left, second);
        }
    }
}

/// to [.., width] = factor * the warp's rows, of which `valid` exist; rows are `stride` apart.
template <int N, class Factor>
__device__ void write_rows(const Rows<N>& rows, Factor factor, bf16* to, int64_t stride, int64_t valid,
                           int width) {
    ESPALIER_UNROLL  // or the rows would have to be in memory
        for (int j = 0; j < N; ++j) {
        for (int r = 0; r < 2; ++r) {
            const int row = row_of(2 * r), column = column_of(j, 0);
            if (row >= valid || column >= width) continue;
            const float* const pair = rows.part[j] + 2 * r;
            store_4_bytes(to + row * stride + column, pair_of(factor(r) * pair[0], factor(r) * pair[1]));
        }
    }
}

/// Over the four lanes that share a row.
template <class Op>
__device__ float reduce_row(float value) {
    value = Op::join(value, __shfl_xor_sync(whole_warp, value, 1));
    return Op::join(value, __shfl_xor_sync(whole_warp, value, 2));
}

}  // namespace espalier::cuda::flash
