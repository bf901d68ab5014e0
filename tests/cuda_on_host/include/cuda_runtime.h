// The CUDA runtime as the kernels use it, on a processor. Streams run their work when somebody waits for it;
// device memory is out of the processor's reach while no kernel runs.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/cuda_on_host/threads.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static

#define CUDART_VERSION 13000

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorNotReady = 600,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct CUstream_st;
struct CUevent_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};

const char* cudaGetErrorString(cudaError_t code);
const char* cudaGetErrorName(cudaError_t code);
cudaError_t cudaGetLastError();
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetPCIBusId(char* text, int length, int device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMalloc(void** memory, size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocHost(void** memory, size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);

namespace espalier::rig {

template <class T>
Slot slot_of(T value) {
    static_assert(sizeof(T) <= sizeof(Slot));
    Slot slot{};
    std::memcpy(&slot, &value, sizeof value);
    return slot;
}
template <class T>
T value_in(const Slot& slot) {
    T value;
    std::memcpy(&value, &slot, sizeof value);
    return value;
}

inline void expect_whole_warp(unsigned mask) {
    if (mask != 0xffffffffU) fault("a warp operation of some lanes");
}

}  // namespace espalier::rig

inline void __syncthreads() {
    espalier::rig::wait_for_block();
}
inline void __syncwarp(unsigned mask = 0xffffffffU) {
    espalier::rig::expect_whole_warp(mask);
    espalier::rig::exchange({});
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
    espalier::rig::expect_whole_warp(mask);
    return espalier::rig::value_in<T>(espalier::rig::exchange(espalier::rig::slot_of(value))[source & 31]);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int other) {
    return __shfl_sync(mask, value, espalier::rig::lane() ^ other);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    espalier::rig::expect_whole_warp(mask);
    const auto* slots = espalier::rig::exchange(espalier::rig::slot_of(predicate));
    unsigned out = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
        if (espalier::rig::value_in<int>(slots[lane]) != 0) out |= 1U << lane;
    }
    return out;
}
inline int __any_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) != 0;
}

/// Threads take turns only at barriers and warp operations, so that this is atomic.
template <class T>
T atomicAdd(T* to, T value) {
    const T before = *to;
    *to = before + value;
    return before;
}
template <class T>
T atomicOr(T* to, T value) {
    const T before = *to;
    *to = before | value;
    return before;
}

inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline float rsqrtf(float x) {
    return 1.0f / std::sqrt(x);
}
