// Means over rows by the threads that share one: a block of them, or a warp.
#pragma once

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/reduce.cuh"

namespace espalier::cuda {

template <int threads>
struct Block {
    static constexpr int size = threads;
    __device__ static int64_t rank() { return threadIdx.x; }
    __device__ static float sum(float value) { return reduce_block<Sum, threads>(value); }
};
struct Warp {
    static constexpr int size = warp;
    __device__ static int64_t rank() { return lane(); }
    __device__ static float sum(float value) { return reduce_warp<Sum>(value); }
};

/// Mean over n values of a row, of which f(j) gives the sum of the N that begin at j. All of the team's
/// threads call it and get it.
template <class Team, int N, class F>
__device__ float row_mean(int64_t n, F f) {
    float sum = 0;
    for (int64_t j = Team::rank() * N; j < n; j += Team::size * N) sum += f(j);
    return Team::sum(sum) / static_cast<float>(n);
}

template <int N>
__device__ float dot(const float (&a)[N], const float (&b)[N]) {
    float sum = 0;
    for (int k = 0; k < N; ++k) sum += a[k] * b[k];
    return sum;
}

}  // namespace espalier::cuda
