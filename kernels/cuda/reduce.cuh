// Sums and maxima over a warp and a block; the order is fixed, so that results are the same from run to run.
#pragma once

#include "kernels/cuda/hardware.cuh"

namespace espalier::cuda {

constexpr int warp = 32;
constexpr unsigned whole_warp = 0xffffffffU;

__device__ inline int lane() {
    return static_cast<int>(threadIdx.x) % warp;
}

struct Sum {
    template <class T>
    __device__ static T join(T a, T b) {
        return a + b;
    }
};
struct Max {
    template <class T>
    __device__ static T join(T a, T b) {
        return a > b ? a : b;
    }
};

/// Every lane gets the reduction over its warp.
template <class Op, class T>
__device__ T reduce_warp(T value) {
    for (int other = warp / 2; other > 0; other /= 2) {
        value = Op::join(value, __shfl_xor_sync(whole_warp, value, other));
    }
    return value;
}

/// Every thread gets the reduction over a block of `threads` (whole warps, one dimension). All
/// threads call it; two barriers, so that it may be called again at once.
template <class Op, int threads, class T>
__device__ T reduce_block(T value) {
    static_assert(threads % warp == 0);
    constexpr int warps = threads / warp;
    __shared__ T parts[warps];
    value = reduce_warp<Op>(value);
    if constexpr (warps == 1) return value;
    if (threadIdx.x % warp == 0) parts[threadIdx.x / warp] = value;
    __syncthreads();
    T total = parts[0];
    for (int w = 1; w < warps; ++w) total = Op::join(total, parts[w]);
    __syncthreads();
    return total;
}

}  // namespace espalier::cuda
