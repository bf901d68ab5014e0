// Products of tiles on the tensor cores, for attention: bf16 factors in shared memory, f32 sums in registers.
// A warp has 16 or 32 rows of the result: with 32 every factor that it loads from the other side is used
// twice, and shared memory keeps up with the tensor cores. Tiles are padded to D columns, and rows stand 8
// elements (16 bytes) farther apart than that, so that the eight rows which load_matrices reads at a time lie
// in different banks.
#pragma once

#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/reduce.cuh"

namespace espalier::cuda::flash {

using bf16 = __nv_bfloat16;

constexpr int warps = 4;
constexpr int threads = warps * warp;
constexpr int gap = 8;

/// The first lane's value, so that the compiler knows that a warp has only one.
__device__ inline int uniform(int value) {
    return __shfl_sync(whole_warp, value, 0);
}
__device__ inline int warp_index() {
    return uniform(static_cast<int>(threadIdx.x) / warp);
}

/// A warp's [16 M, 8 N] of a result: of a lane's 2 M rows, r is row_of(r); element e of part m, j is in row r
/// = 2 m + e / 2 and column column_of(j, e).
template <int M, int N>
struct Rows {
    float part[M][N][4] = {};

    /// f(element, r, j, e) for every one.
    template <class F>
    __device__ void each(F f) {
        // Unrolled, or the rows would have to be in memory.
        ESPALIER_UNROLL
        for (int m = 0; m < M; ++m) {
            ESPALIER_UNROLL
            for (int j = 0; j < N; ++j) {
                ESPALIER_UNROLL
                for (int e = 0; e < 4; ++e) f(part[m][j][e], 2 * m + e / 2, j, e);
            }
        }
    }
};
__device__ inline int row_of(int r) {
    return lane() / 4 + 8 * r;
}
__device__ inline int column_of(int j, int e) {
    return 8 * j + 2 * (lane() % 4) + e % 2;
}

/// Rows of `width` elements, a multiple of 8, `stride` apart, of which a block loads tiles: a thread's part.
template <int D>
class Source {
public:
    __device__ Source(const bf16* rows, int64_t stride, int64_t count, int64_t width)
        : from_(rows + first() * stride + column()),
          stride_(static_cast<int>(stride)),
          count_(column() < width ? static_cast<int>(count) - first() : 0) {}

    /// All threads begin to copy: tile [rows, D] = the rows from `row` on, 0 beyond them.
    template <int rows>
    __device__ void load(bf16* tile, int row) const {
        static_assert(rows % step == 0);
        tile += first() * (D + gap) + column();
        const bf16* from = from_ + static_cast<int64_t>(row) * stride_;
        ESPALIER_UNROLL
        for (int i = 0; i < rows; i += step) {
            copy_16_bytes_later(tile + i * (D + gap), from, row + i < count_);
            from += static_cast<int64_t>(step) * stride_;
        }
    }

    /// The same rows of a head further on.
    __device__ Source at(int64_t elements) const {
        Source moved = *this;
        moved.from_ += elements;
        return moved;
    }

private:
    static constexpr int step = threads / (D / 8);
    static __device__ int first() { return static_cast<int>(threadIdx.x) / (D / 8); }
    static __device__ int column() { return static_cast<int>(threadIdx.x) % (D / 8) * 8; }

    const bf16* from_;
    int stride_;
    int count_;  // of the rows, less the thread's first
};

/// sum [16 M, 8 N] += a [16 M, D] b [8 N, D]^T; a is the warp's first row.
template <int D, int M, int N>
__device__ void multiply_transposed(Rows<M, N>& sum, const bf16* a, const bf16* b) {
    a += lane() % 16 * (D + gap) + lane() / 16 * 8;
    b += (lane() / 16 * 8 + lane() % 8) * (D + gap) + lane() / 8 % 2 * 8;
    ESPALIER_UNROLL
    for (int k = 0; k < D; k += 16) {
        uint32_t left[M][4];
        ESPALIER_UNROLL
        for (int m = 0; m < M; ++m) load_matrices(left[m], a + 16 * m * (D + gap) + k);
        ESPALIER_UNROLL
        for (int j = 0; j < N; j += 2) {
            uint32_t right[4];
            load_matrices(right, b + 8 * j * (D + gap) + k);
            const uint32_t first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
            ESPALIER_UNROLL
            for (int m = 0; m < M; ++m) {
                multiply_add(sum.part[m][j], left[m], first);
                multiply_add(sum.part[m][j + 1], left[m], second);
            }
        }
    }
}

/// sum [16 M, D] += a [16 M, 8 N] b [8 N, D], a rounded to bf16 on its way: a result's layout is that of a
/// factor.
template <int D, int M, int N>
__device__ void multiply(Rows<M, D / 8>& sum, const Rows<M, N>& a, const bf16* b) {
    b += lane() % 16 * (D + gap) + lane() / 16 * 8;
    ESPALIER_UNROLL
    for (int k = 0; k < N; k += 2) {
        uint32_t left[M][4];
        ESPALIER_UNROLL
        for (int m = 0; m < M; ++m) {
            ESPALIER_UNROLL
            for (int i = 0; i < 4; ++i) {
                const float* const pair = a.part[m][k + i / 2] + i % 2 * 2;
                left[m][i] = pair_of(pair[0], pair[1]);
            }
        }
        ESPALIER_UNROLL
        for (int j = 0; j < D / 8; j += 2) {
            uint32_t right[4];
            load_matrices_transposed(right, b + 8 * k * (D + gap) + 8 * j);
            const uint32_t first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
            ESPALIER_UNROLL
            for (int m = 0; m < M; ++m) {
                multiply_add(sum.part[m][j], left[m], first);
                multiply_add(sum.part[m][j + 1], left[m], second);
            }
        }
    }
}

/// to [M N / 2, lanes, 8] = the warp's rows, rounded to bf16: what multiply_by_stored takes in another warp.
template <int M, int N>
__device__ void store_rounded(const Rows<M, N>& rows, uint32_t* to) {
    ESPALIER_UNROLL
    for (int i = 0; i < M * N / 2; ++i) {
        const auto& low = rows.part[2 * i / N][2 * i % N];
        const auto& high = rows.part[2 * i / N][2 * i % N + 1];
        store_16_bytes(to + 4 * (i * warp + lane()), {pair_of(low[0], low[1]), pair_of(low[2], low[3]),
                                                      pair_of(high[0], high[1]), pair_of(high[2], high[3])});
    }
}
template <int M, int N>
__device__ void multiply_by_stored(const uint32_t* from, Rows<M, N>& rows) {
    ESPALIER_UNROLL
    for (int i = 0; i < M * N / 2; ++i) {
        const uint4 four = load_16_bytes(from + 4 * (i * warp + lane()));
        const uint32_t pairs[4] = {four.x, four.y, four.z, four.w};
        ESPALIER_UNROLL
        for (int e = 0; e < 8; ++e)
            rows.part[2 * i / N][2 * i % N + e / 4][e % 4] *= half_of(pairs[e / 2], e % 2);
    }
}

/// to [.., width] = factor * the warp's rows, of which `valid` exist; rows are `stride` apart, and width is a
/// multiple of 8.
template <int M, int N>
__device__ void write_rows(const Rows<M, N>& rows, const float (&factor)[2 * M], bf16* to, int64_t stride,
                           int64_t valid, int width) {
    ESPALIER_UNROLL
    for (int r = 0; r < 2 * M; ++r) {
        if (row_of(r) >= valid) continue;
        bf16* const row = to + row_of(r) * stride + column_of(0, 0);
        ESPALIER_UNROLL
        for (int j = 0; j < N; ++j) {
            if (8 * j >= width) continue;
            const float* const pair = rows.part[r / 2][j] + 2 * (r % 2);
            store_whole(row + 8 * j, pair_of(factor[r] * pair[0], factor[r] * pair[1]));
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
