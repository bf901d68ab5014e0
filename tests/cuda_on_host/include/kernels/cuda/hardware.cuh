// What kernels ask of the hardware, on a processor; the contract is that of kernels/cuda/hardware.cuh.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <tuple>

#include "src/core/cuda_check.hpp"
#include "tests/cuda_on_host/runtime.hpp"

#define ESPALIER_UNROLL

namespace espalier::cuda {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            Arguments&&... arguments) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    rig::expect_launchable({grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes);
    rig::submit(stream, [=, values = std::tuple<Parameters...>(static_cast<Parameters>(arguments)...)] {
        rig::run_grid({grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, shared_bytes,
                      [&] { std::apply(kernel, values); });
    });
}

template <class... Parameters>
size_t most_shared_bytes(void (*)(Parameters...)) {
    return rig::most_shared_bytes;
}

template <class T>
T* dynamic_shared() {
    return reinterpret_cast<T*>(rig::dynamic_shared());
}

template <size_t bytes, class T>
void expect_aligned(const T* p) {
    if (reinterpret_cast<uintptr_t>(p) % bytes == 0) return;
    rig::fault(bytes == 16  ? "a misaligned access of 16 bytes"
               : bytes == 8 ? "a misaligned access of 8 bytes"
                            : "a misaligned access of 4 bytes");
}
template <class T>
uint4 load_16_bytes(const T* p) {
    expect_aligned<16>(p);
    return *reinterpret_cast<const uint4*>(p);
}
template <class T>
void store_16_bytes(T* p, uint4 value) {
    expect_aligned<16>(p);
    *reinterpret_cast<uint4*>(p) = value;
}
template <class Whole, class T>
Whole load_whole(const T* p) {
    expect_aligned<sizeof(Whole)>(p);
    return *reinterpret_cast<const Whole*>(p);
}
template <class Whole, class T>
void store_whole(T* p, const Whole& value) {
    expect_aligned<sizeof(Whole)>(p);
    *reinterpret_cast<Whole*>(p) = value;
}

template <class T>
void copy_16_bytes_later(T* to, const T* from, bool inside) {
    expect_aligned<16>(to);
    expect_aligned<16>(from);
    rig::copy_later(to, inside ? from : nullptr, 16);
}
template <class T>
void copy_4_bytes_later(T* to, const T* from, bool inside) {
    expect_aligned<4>(to);
    expect_aligned<4>(from);
    rig::copy_later(to, inside ? from : nullptr, 4);
}
inline void commit_copies() {
    rig::commit_copies();
}
template <int newest>
void wait_for_copies() {
    rig::wait_for_copies(newest);
}

inline float fast_exp2(float x) {
    return exp2f(x);
}

inline uint32_t pair_of(float low, float high) {
    return static_cast<uint32_t>(__float2bfloat16(low).bits) |
           static_cast<uint32_t>(__float2bfloat16(high).bits) << 16;
}

inline float half_of(uint32_t pair, int which) {
    return static_cast<float>(bfloat16::from_bits(static_cast<uint16_t>(pair >> (16 * which))));
}

inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    struct Registers {
        uint32_t a[4], b[2];
    } mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const rig::Slot* const slots = rig::exchange(rig::slot_of(mine));
    const int lane = rig::lane(), g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) {
        const int row = g + 8 * (i / 2), column = 2 * t + i % 2;
        for (int k = 0; k < 16; ++k) {
            const auto left = rig::value_in<Registers>(slots[row % 8 * 4 + k % 8 / 2]);
            const auto right = rig::value_in<Registers>(slots[column * 4 + k % 8 / 2]);
            d[i] += half_of(left.a[row / 8 + 2 * (k / 8)], k % 2) * half_of(right.b[k / 8], k % 2);
        }
    }
}

template <bool transposed>
void load_matrices_of(uint32_t (&out)[4], const __nv_bfloat16* row) {
    expect_aligned<16>(row);
    const rig::Slot* const slots = rig::exchange(rig::slot_of(row));
    const int g = rig::lane() / 4, t = rig::lane() % 4;
    for (int m = 0; m < 4; ++m) {
        const auto at = [&](int i, int j) -> uint32_t {
            return rig::value_in<const __nv_bfloat16*>(slots[8 * m + i])[j].bits;
        };
        out[m] = transposed ? at(2 * t, g) | at(2 * t + 1, g) << 16 : at(g, 2 * t) | at(g, 2 * t + 1) << 16;
    }
}
inline void load_matrices(uint32_t (&out)[4], const __nv_bfloat16* row) {
    load_matrices_of<false>(out, row);
}
inline void load_matrices_transposed(uint32_t (&out)[4], const __nv_bfloat16* row) {
    load_matrices_of<true>(out, row);
}

}  // namespace espalier::cuda
