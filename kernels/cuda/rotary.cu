// Rotary embedding: a block turns a token's heads, a thread a pack of pairs at a time. Reads and writes the
// turned heads once, 16 bytes at a time where they allow it; a token's angles come from the cache.
#include "kernels/cuda/rotary.hpp"

#include "kernels/cuda/element.cuh"

namespace espalier::cuda {
namespace {

constexpr int threads = 64;  // 12 heads of 32 pairs are 48 packs, 40 heads of 64 pairs 320

template <int N, class T>
__global__ void turn(T* x, int64_t width, const float* cosines, const float* sines, const int32_t* positions,
                     int heads, int head_dim, int half, float direction) {
    const int64_t token = blockIdx.x, angles = int64_t{positions[token]} * half;
    const int packs = half / N;
    for (int i = static_cast<int>(threadIdx.x); i < heads * packs; i += threads) {
        const int head = i / packs, j = i % packs * N;
        T* const low = x + token * width + head * head_dim + j;
        float a[N], b[N], c[N], s[N];
        load<N>(low, a);
        load<N>(low + half, b);
        load<N>(cosines + angles + j, c);
        load<N>(sines + angles + j, s);
        for (int k = 0; k < N; ++k) {
            const float turned = a[k] * c[k] - b[k] * (direction * s[k]);
            b[k] = b[k] * c[k] + a[k] * (direction * s[k]);
            a[k] = turned;
        }
        store<N>(low, a);
        store<N>(low + half, b);
    }
}

}  // namespace

void rotate(Context& ctx, Tensor& x, const Tensor& cosines, const Tensor& sines, const Tensor& positions,
            int64_t heads, int64_t head_dim, Rotation rotation) {
    const int64_t tokens = x.dim(0), width = x.dim(1), half = cosines.dim(1);
    if (heads * half == 0) return;
    const bool wide = half % pack == 0 && head_dim % pack == 0 && width % pack == 0 &&
                      aligned(x.raw(), cosines.raw(), sines.raw());
    visit_elements(x.dtype(), [&]<class T>(T) {
        with_pack(wide, [&]<int N>() {
            launch(turn<N, T>, narrow<unsigned>(tokens), threads, 0, ctx.stream(), data<T>(x), width,
                   data<float>(cosines), data<float>(sines), data<int32_t>(positions), narrow<int>(heads),
                   narrow<int>(head_dim), narrow<int>(half), rotation == Rotation::forward ? 1.0f : -1.0f);
        });
    });
}

}  // namespace espalier::cuda
