#include <cuda_runtime.h>

#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "src/core/cuda_check.hpp"
#include "src/core/device.hpp"
#include "src/core/error.hpp"

namespace espalier {

void check_cuda(cudaError_t code, const char* call) {
    if (code == cudaSuccess) return;
    throw InternalError(
        fmt::format("{} failed: {} ({})", call, cudaGetErrorString(code), cudaGetErrorName(code)));
}

namespace device {
namespace {

/// Compute capability, as 10 x major + minor: the kernels need Ampere's bf16 tensor cores, and are compiled
/// for no card older than the build's oldest.
#ifdef ESPALIER_OLDEST_CARD
constexpr int oldest = ESPALIER_OLDEST_CARD;
#else
constexpr int oldest = 80;
#endif

/// Of the process, as the device is.
std::vector<std::pair<const void*, std::function<void()>>>& watches() {
    static std::vector<std::pair<const void*, std::function<void()>>> all;
    return all;
}

/// Looks again and again: at once first, for most waits are short.
void wait_watching(const Event& event) {
    constexpr int quick_looks = 2048, looks_between_checks = 256;
    for (int64_t look = 0; !passed(event); ++look) {
        if (look % looks_between_checks == 0) {
            for (const auto& [owner, check] : watches()) check();
        }
        if (look >= quick_looks) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
}

}  // namespace

int count() {
    int devices = 0;
    const cudaError_t code = cudaGetDeviceCount(&devices);
    ESPALIER_REQUIRE(
        code != cudaErrorInsufficientDriver,
        "--device cuda: there is no NVIDIA driver here, or it is older than this program's CUDA {}; "
        "install a newer driver (see `nvidia-smi`), or use --device cpu",
        CUDART_VERSION / 1000);
    ESPALIER_REQUIRE(
        code != cudaErrorNoDevice && (code != cudaSuccess || devices > 0),
        "--device cuda: the driver sees no device; ask the batch system for one (--gpus-per-node), look at "
        "CUDA_VISIBLE_DEVICES, or use --device cpu");
    CHECK_CUDA(code);
    return devices;
}

Facts facts(int index) {
    cudaDeviceProp properties{};
    CHECK_CUDA(cudaGetDeviceProperties(&properties, index));
    char bus[32] = {};
    CHECK_CUDA(cudaDeviceGetPCIBusId(bus, sizeof bus, index));
    return {properties.name, bus, properties.major, properties.minor, properties.totalGlobalMem};
}

void select(int index) {
    const int devices = count();
    ESPALIER_REQUIRE(index < devices, "--device cuda: device {} of {}; start at most {} ranks a node", index,
                     devices, devices);
    const Facts found = facts(index);
    ESPALIER_REQUIRE(
        10 * found.major + found.minor >= oldest,
        "--device cuda: {} has compute capability {}.{}; this build needs {}.{} or newer, and 8.0 "
        "(A100) is the least it can be made for, with -DESPALIER_CUDA_ARCHITECTURES=80: use "
        "--device cpu",
        found.name, found.major, found.minor, oldest / 10, oldest % 10);
    CHECK_CUDA(cudaSetDevice(index));
}

Memory memory() {
    Memory out{};
    CHECK_CUDA(cudaMemGetInfo(&out.free, &out.total));
    return out;
}

std::byte* allocate(size_t bytes) {
    void* memory = nullptr;
    const cudaError_t code = cudaMalloc(&memory, bytes);
    if (code == cudaErrorMemoryAllocation) {
        size_t free = 0, total = 0;
        cudaGetLastError();  // the error is dealt with
        cudaMemGetInfo(&free, &total);
        fail(
            "out of device memory: {} MiB wanted, {} of {} MiB free; work on fewer or shorter "
            "sequences at a time (where the job has them: --micro-batch, --seq-len), or on more ranks (--tp, "
            "--pp)",
            bytes >> 20, free >> 20, total >> 20);
    }
    CHECK_CUDA(code);
    return static_cast<std::byte*>(memory);
}

void release(std::byte* memory) noexcept {
    cudaFree(memory);
}

std::byte* allocate_pinned(size_t bytes) {
    void* memory = nullptr;
    const cudaError_t code = cudaMallocHost(&memory, bytes);
    if (code == cudaErrorMemoryAllocation) {
        cudaGetLastError();  // the error is dealt with
        fail(
            "out of host memory that the device can reach: {} MiB wanted; use fewer ranks a node, or give "
            "the job more memory",
            bytes >> 20);
    }
    CHECK_CUDA(code);
    return static_cast<std::byte*>(memory);
}

void release_pinned(std::byte* memory) noexcept {
    cudaFreeHost(memory);
}

Stream make_stream(Priority priority) {
    int least = 0, greatest = 0;
    CHECK_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    cudaStream_t stream = nullptr;
    CHECK_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                            priority == Priority::first ? greatest : least));
    return stream;
}

void destroy(Stream stream) noexcept {
    cudaStreamDestroy(stream);
}

void wait(Stream stream) {
    if (!watches().empty()) return wait_watching(record(stream));
    CHECK_CUDA(cudaStreamSynchronize(stream));
}

void watch(const void* owner, std::function<void()> check) {
    watches().emplace_back(owner, std::move(check));
}

void unwatch(const void* owner) noexcept {
    std::erase_if(watches(), [&](const auto& w) { return w.first == owner; });
}

void wait_for_all() {
    CHECK_CUDA(cudaDeviceSynchronize());
}

void order(Stream earlier, Stream later) {
    order(record(earlier), later);
}

Event record(Stream stream) {
    cudaEvent_t event = nullptr;
    CHECK_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    Event out(event, [](cudaEvent_t e) { cudaEventDestroy(e); });
    CHECK_CUDA(cudaEventRecord(event, stream));
    return out;
}

bool passed(const Event& event) {
    const cudaError_t code = cudaEventQuery(event.get());
    if (code == cudaErrorNotReady) {
        cudaGetLastError();  // or the next launch reports it
        return false;
    }
    CHECK_CUDA(code);
    return true;
}

void wait(const Event& event) {
    if (!watches().empty()) return wait_watching(event);
    CHECK_CUDA(cudaEventSynchronize(event.get()));
}

void order(const Event& earlier, Stream later) {
    CHECK_CUDA(cudaStreamWaitEvent(later, earlier.get(), 0));
}

void copy(std::byte* to, const std::byte* from, size_t bytes, Copy direction, Stream stream) {
    const cudaMemcpyKind kind =
        direction == Copy::to_device ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost;
    if (bytes > 0) CHECK_CUDA(cudaMemcpyAsync(to, from, bytes, kind, stream));
}

void set_bytes(std::byte* to, int value, size_t bytes, Stream stream) {
    if (bytes > 0) CHECK_CUDA(cudaMemsetAsync(to, value, bytes, stream));
}

}  // namespace device
}  // namespace espalier
