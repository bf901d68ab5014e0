// Capped logits, element by element: a thread moves one pack of each operand, once. tanhf is some 30
// instructions, about as many as the 8 bytes of an element give an H100 time for.
#include "kernels/cuda/soft_cap.hpp"

#include "kernels/cuda/element.cuh"

namespace espalier::cuda {
namespace {

constexpr int threads = 256;

template <int N>
__global__ void cap_pack(int64_t count, float cap, float* z) {
    const int64_t i = (int64_t{blockIdx.x} * threads + threadIdx.x) * N;
    if (i >= count) return;
    const float inverse = 1.0f / cap;
    float v[N];
    load<N>(z + i, v);
    for (int k = 0; k < N; ++k) v[k] = cap * tanhf(inverse * v[k]);
    store<N>(z + i, v);
}

template <int N, class T>
__global__ void slope_pack(int64_t count, float cap, const float* capped, T* d) {
    const int64_t i = (int64_t{blockIdx.x} * threads + threadIdx.x) * N;
    if (i >= count) return;
    const float inverse = 1.0f / cap;
    float v[N], out[N];
    load<N>(capped + i, v);
    load<N>(d + i, out);
    for (int k = 0; k < N; ++k) {
        const float t = inverse * v[k];
        out[k] *= 1.0f - t * t;
    }
    store<N>(d + i, out);
}

}  // namespace

void soft_cap(Context& ctx, float cap, Tensor& z) {
    const int64_t count = z.size();
    with_pack(count % pack == 0 && aligned(z.raw()), [&]<int N>() {
        launch(cap_pack<N>, blocks_for(count, threads * N), threads, 0, ctx.stream(), count, cap,
               data<float>(z));
    });
}

void soft_cap_backward(Context& ctx, float cap, const Tensor& capped, Tensor& d) {
    const int64_t count = d.size();
    visit_elements(d.dtype(), [&]<class T>(T) {
        with_pack(count % pack == 0 && aligned(capped.raw(), d.raw()), [&]<int N>() {
            launch(slope_pack<N, T>, blocks_for(count, threads * N), threads, 0, ctx.stream(), count, cap,
                   data<float>(capped), data<T>(d));
        });
    });
}

}  // namespace espalier::cuda
