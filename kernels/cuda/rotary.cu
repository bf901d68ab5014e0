// Rotary embedding: a thread turns one pair. Reads and writes the turned heads once; neighbouring threads
// have neighbouring pairs, and a token's angles come from the cache.
#include "kernels/cuda/rotary.hpp"

#include "kernels/cuda/element.cuh"

namespace espalier::cuda {
namespace {

constexpr int threads = 256;

template <class T>
__global__ void turn(int64_t count, T* x, int64_t width, const float* cosines, const float* sines,
                     const int32_t* positions, int64_t heads, int64_t head_dim, int64_t half,
                     float direction) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count) return;
    const int64_t token = i / (heads * half), head = i / half % heads, j = i % half;
    const int64_t angle = positions[token] * half + j;
    const float c = cosines[angle], s = direction * sines[angle];
    T* const low = x + token * width + head * head_dim + j;
    T* const high = low + half;
    const float a = to_float(*low), b = to_float(*high);
    store(low, a * c - b * s);
    store(high, b * c + a * s);
}

}  // namespace

void rotate(Context& ctx, Tensor& x, const Tensor& cosines, const Tensor& sines, const Tensor& positions,
            int64_t heads, int64_t head_dim, Rotation rotation) {
    const int64_t half = cosines.dim(1), count = x.dim(0) * heads * half;
    visit_elements(x.dtype(), [&]<class T>(T) {
        launch(turn<T>, blocks_for(count, threads), threads, 0, ctx.stream(), count, data<T>(x), x.dim(1),
               data<float>(cosines), data<float>(sines), data<int32_t>(positions), heads, head_dim, half,
               rotation == Rotation::forward ? 1.0f : -1.0f);
    });
}

}  // namespace espalier::cuda
