// Elements and packs of them between memory and f32 registers.
#pragma once

#include <cstring>

#include "kernels/cuda/hardware.cuh"
#include "src/core/context.hpp"
#include "src/core/exact.hpp"

namespace espalier::cuda {

inline __device__ float to_float(float x) {
    return x;
}
inline __device__ float to_float(__nv_bfloat16 x) {
    return __bfloat162float(x);
}
inline __device__ void store(float* to, float x) {
    *to = x;
}
inline __device__ void store(__nv_bfloat16* to, float x) {
    *to = __float2bfloat16(x);
}

/// For code that other back ends share.
struct DeviceMath {
    static __host__ __device__ float exp(float x) { return expf(x); }
    static __host__ __device__ float log(float x) { return logf(x); }
    static __host__ __device__ float positive(float x) { return x < 0 ? 0.0f : x; }
};

/// Elements that a thread moves at a time: 16 bytes of bf16, twice 16 of f32.
constexpr int pack = 8;

template <class T>
struct alignas(2 * sizeof(T)) Pair {
    T low, high;
};

/// out = N elements from p on, and back: 1, 2 where p is a multiple of their size, or `pack` where of 16
/// bytes.
template <int N, class T>
__device__ void load(const T* p, float (&out)[N]) {
    if constexpr (N == 1) {
        out[0] = to_float(*p);
    } else if constexpr (N == 2) {
        const auto pair = load_whole<Pair<T>>(p);
        out[0] = to_float(pair.low);
        out[1] = to_float(pair.high);
    } else {
        constexpr int at_once = 16 / sizeof(T);
        for (int i = 0; i < N; i += at_once) {
            const uint4 bits = load_16_bytes(p + i);
            T values[at_once];
            memcpy(values, &bits, sizeof bits);
            for (int j = 0; j < at_once; ++j) out[i + j] = to_float(values[j]);
        }
    }
}

template <int N, class T>
__device__ void store(T* p, const float (&in)[N]) {
    if constexpr (N == 1) {
        store(p, in[0]);
    } else if constexpr (N == 2) {
        Pair<T> pair;
        store(&pair.low, in[0]);
        store(&pair.high, in[1]);
        store_whole(p, pair);
    } else {
        constexpr int at_once = 16 / sizeof(T);
        for (int i = 0; i < N; i += at_once) {
            T values[at_once];
            for (int j = 0; j < at_once; ++j) store(values + j, in[i + j]);
            uint4 bits;
            memcpy(&bits, values, sizeof bits);
            store_16_bytes(p + i, bits);
        }
    }
}

/// The elements of a tensor as kernels see them.
template <class T>
struct device_element {
    using type = T;
};
template <>
struct device_element<bfloat16> {
    using type = __nv_bfloat16;
};
template <class T>
using element_t = typename device_element<T>::type;

template <class T>
T* data(const Tensor& x) {
    return reinterpret_cast<T*>(x.raw());
}

/// visit_float with the type that kernels use: f(float{}) or f(__nv_bfloat16{}).
template <class F>
void visit_elements(DType dtype, F&& f) {
    visit_float(dtype, [&]<class T>(T) { f(element_t<T>{}); });
}

/// Whether all of these begin at a multiple of 16 bytes.
template <class... Pointers>
__host__ __device__ bool aligned(const Pointers*... p) {
    return ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}

/// Calls f with N = pack where the pointers and a row's length allow it, else with N = 1.
template <class F>
void with_pack(bool wide, F&& f) {
    if (wide) {
        f.template operator()<pack>();
    } else {
        f.template operator()<1>();
    }
}

/// Blocks that a grid can have along y and z; along x it can have as many as work ever needs.
constexpr int64_t most_grid_rows = 65535;

inline unsigned blocks_for(int64_t work, int64_t per_block) {
    return narrow<unsigned>(div_ceil(work, per_block));
}

}  // namespace espalier::cuda
