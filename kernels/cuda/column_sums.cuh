// Sums down the columns of a matrix, in two steps of fixed order: a thread adds up a column over a slice of
// the rows, another joins the slices. Neighbouring threads read neighbouring columns; the partial sums are 1
// / 64 of the matrix.
#pragma once

#include <algorithm>

#include "kernels/cuda/element.cuh"

namespace espalier::cuda {

constexpr int column_threads = 128;
constexpr int64_t rows_per_slice = 64;
constexpr int rows_at_once = 8;  // that a thread has on their way

/// partial [slices, K, n]: K sums of each column; terms.add(row, column, sums) adds one element's.
template <int K, class Terms>
__global__ void slice_columns(int64_t rows, int64_t n, int64_t slices, Terms terms, float* partial) {
    const int64_t j = int64_t{blockIdx.x} * column_threads + threadIdx.x;
    if (j >= n) return;
    for (int64_t slice = blockIdx.y; slice < slices; slice += gridDim.y) {
        int64_t row = slice * rows_per_slice;
        const int64_t end = row + rows_per_slice < rows ? row + rows_per_slice : rows;
        float sums[K] = {};
        for (; row + rows_at_once <= end; row += rows_at_once) {
            ESPALIER_UNROLL
            for (int r = 0; r < rows_at_once; ++r) terms.add(row + r, j, sums);
        }
        for (; row < end; ++row) terms.add(row, j, sums);
        for (int k = 0; k < K; ++k) partial[(slice * K + k) * n + j] = sums[k];
    }
}

template <int K>
struct ColumnOutputs {
    float* to[K];
};

/// to[k] [n] += the slices' sums; null for none.
template <int K>
__global__ void join_slices(int64_t slices, int64_t n, const float* partial, ColumnOutputs<K> out) {
    const int64_t j = int64_t{blockIdx.x} * column_threads + threadIdx.x;
    float* const to = out.to[blockIdx.y];
    if (j >= n || !to) return;
    float sum = 0;
    for (int64_t s = 0; s < slices; ++s) sum += partial[(s * K + blockIdx.y) * n + j];
    to[j] += sum;
}

template <int K, class Terms>
void add_column_sums(Context& ctx, int64_t rows, int64_t n, Terms terms, ColumnOutputs<K> out) {
    const int64_t slices = div_ceil(rows, rows_per_slice);
    const unsigned blocks = blocks_for(n, column_threads);
    const auto slice_blocks = static_cast<unsigned>(std::min(slices, most_grid_rows));
    const Tensor partial = ctx.empty({slices, K, n}, DType::f32);
    launch(slice_columns<K, Terms>, {blocks, slice_blocks}, column_threads, 0, ctx.stream(), rows, n, slices,
           terms, data<float>(partial));
    launch(join_slices<K>, {blocks, K}, column_threads, 0, ctx.stream(), slices, n, data<float>(partial),
           out);
}

}  // namespace espalier::cuda
