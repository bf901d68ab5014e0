// What kernels ask of the hardware beyond C++: launches, dynamic shared memory, 16-byte accesses, copies on
// their way, tensor cores. tests/cuda_on_host has a header of this name that does the same on a processor.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "src/core/cuda_check.hpp"

/// Before a loop of few turns whose number is a constant: all of them, so that arrays stay in registers and
/// loads go out together.
#define ESPALIER_UNROLL _Pragma("unroll")

namespace espalier::cuda {

/// The one way to start a kernel. A grid without blocks is no work. Without asking a block has 48 KiB of
/// shared memory, static and dynamic together; ours have up to 24 KiB of the first.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
            Arguments&&... arguments) {
    constexpr size_t without_asking = 24 << 10;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared_bytes > without_asking) {
        CHECK_CUDA(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                        cudaFuncAttributeMaxDynamicSharedMemorySize,
                                        static_cast<int>(shared_bytes)));
    }
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
    CHECK_CUDA(cudaGetLastError());
}

/// Bytes of dynamic shared memory that a block of this kernel can have on the current device.
template <class... Parameters>
size_t most_shared_bytes(void (*kernel)(Parameters...)) {
    int device = 0, most = 0;
    cudaFuncAttributes has{};
    CHECK_CUDA(cudaGetDevice(&device));
    CHECK_CUDA(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    CHECK_CUDA(cudaFuncGetAttributes(&has, reinterpret_cast<const void*>(kernel)));
    return static_cast<size_t>(most) - has.sharedSizeBytes;
}

/// The block's dynamic shared memory, aligned to 16 bytes.
template <class T>
__device__ T* dynamic_shared() {
    extern __shared__ __align__(16) unsigned char espalier_dynamic_shared[];
    return reinterpret_cast<T*>(espalier_dynamic_shared);
}

/// 16 bytes at once; p is a multiple of 16.
template <class T>
__device__ uint4 load_16_bytes(const T* p) {
    return *reinterpret_cast<const uint4*>(p);
}
/// All of a Whole at once; p is a multiple of its size.
template <class Whole, class T>
__device__ Whole load_whole(const T* p) {
    return *reinterpret_cast<const Whole*>(p);
}
template <class Whole, class T>
__device__ void store_whole(T* p, const Whole& value) {
    *reinterpret_cast<Whole*>(p) = value;
}
/// As one number: the four of a uint4 the compiler may store one by one.
template <class T>
__device__ void store_16_bytes(T* p, uint4 value) {
    unsigned __int128 bits;
    memcpy(&bits, &value, sizeof bits);
    *reinterpret_cast<unsigned __int128*>(p) = bits;
}

/// Begins to copy 16 or 4 bytes to shared memory, zeros where they are not `inside`; both are multiples of
/// that. They are there after a wait for their group: for the thread itself, and for others after a barrier
/// that follows.
template <class T>
__device__ void copy_16_bytes_later(T* to, const T* from, bool inside) {
    const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(at), "l"(__cvta_generic_to_global(from)), "r"(inside ? 16 : 0)
                 : "memory");
}
template <class T>
__device__ void copy_4_bytes_later(T* to, const T* from, bool inside) {
    const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 :
                 : "r"(at), "l"(__cvta_generic_to_global(from)), "r"(inside ? 4 : 0)
                 : "memory");
}
/// Makes a group of the thread's copies since the one before.
__device__ inline void commit_copies() {
    asm volatile("cp.async.commit_group;" : : : "memory");
}
/// Waits for all groups of the thread but the `newest` last ones.
template <int newest>
__device__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" : : "n"(newest) : "memory");
}

/// 2^x, off by 2 units in the last place at most; 0 where it is less than a normal number.
__device__ inline float fast_exp2(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

/// Both rounded to bf16; the first in the lower half.
__device__ inline uint32_t pair_of(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

/// Half `which` of such a pair.
__device__ inline float half_of(uint32_t pair, int which) {
    return __uint_as_float(which == 0 ? pair << 16 : pair & 0xffff0000U);
}

/// d [16, 8] += a [16, 16] b [16, 8] of a warp: bf16 factors, f32 sums (PTX mma.m16n8k16). With g = lane / 4
/// and t = lane % 4, a pair being two bf16 of adjacent columns (a) or rows (b), the lower index in the lower
/// half:
///   a[0] = (g, 2t), a[1] = (g + 8, 2t), a[2] = (g, 2t + 8), a[3] = (g + 8, 2t + 8)
///   b[0] = (2t, g), b[1] = (2t + 8, g)
///   d[0], d[1] = (g, 2t), (g, 2t + 1);  d[2], d[3] = (g + 8, 2t), (g + 8, 2t + 1)
__device__ inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// Four 8 x 8 matrices of bf16 from shared memory; lane i gives the address of row i % 8 of matrix i / 8 (a
/// multiple of 16 bytes) and gets of each matrix m the pair (i / 4, 2 (i % 4)); transposed: of each matrix's
/// transpose.
__device__ inline void load_matrices(uint32_t (&out)[4], const __nv_bfloat16* row) {
    const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at));
}
__device__ inline void load_matrices_transposed(uint32_t (&out)[4], const __nv_bfloat16* row) {
    const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at));
}

}  // namespace espalier::cuda
