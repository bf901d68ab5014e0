// The stand-in for a device does what a device does, and finds what is planted: each fault here must be
// noticed.
#include <gtest/gtest.h>
#include <nccl.h>

#include <cmath>

#include "kernels/cuda/reduce.cuh"
#include "src/core/device.hpp"
#include "tests/support/compare.hpp"

namespace espalier::cuda {
namespace {

constexpr int threads = 64;

/// Memory of the device for a test, and one stream.
class Rig : public testing::Test {
protected:
    Rig() : stream_(device::make_stream()) {}
    ~Rig() override { device::destroy(stream_); }

    template <class T>
    T* allocate(size_t count) {
        return reinterpret_cast<T*>(device::allocate(count * sizeof(T)));
    }
    template <class T>
    std::vector<T> read(const T* from, size_t count) {
        std::vector<T> out(count);
        device::copy(reinterpret_cast<std::byte*>(out.data()), reinterpret_cast<const std::byte*>(from),
                     count * sizeof(T), device::Copy::to_host, stream_);
        device::wait(stream_);
        return out;
    }
    template <class T>
    void write(T* to, const std::vector<T>& values) {
        device::copy(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(values.data()),
                     values.size() * sizeof(T), device::Copy::to_device, stream_);
    }

    device::Stream stream_;
};

enum class Barrier { there, removed };

/// Every thread reads what its neighbour wrote.
template <Barrier barrier>
__global__ void shift(float* out) {
    __shared__ float values[threads];
    const unsigned i = threadIdx.x;
    values[i] = static_cast<float>(i);
    if constexpr (barrier == Barrier::there) __syncthreads();
    out[i] = values[(i + 1) % threads];
}

TEST_F(Rig, ARemovedBarrierGivesUnwrittenValuesAndOneThatIsThereNever) {
    auto* const out = allocate<float>(threads);
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        rig::set_seed(seed);
        const auto wrong = [&] {
            const auto values = read(out, threads);
            int count = 0;
            for (int i = 0; i < threads; ++i)
                count += values[static_cast<size_t>(i)] != float((i + 1) % threads);
            return count;
        };

        launch(shift<Barrier::there>, 1, threads, 0, stream_, out);
        EXPECT_EQ(wrong(), 0);
        launch(shift<Barrier::removed>, 1, threads, 0, stream_, out);
        EXPECT_GT(wrong(), 0);
    }
}

__global__ void barrier_in_a_branch() {
    if (threadIdx.x < 7) __syncthreads();
    reduce_warp<Sum>(1.0f);
}

TEST_F(Rig, ABarrierThatNotAllReachIsAnError) {
    launch(barrier_in_a_branch, 1, threads, 0, stream_);

    EXPECT_THROW(device::wait(stream_), std::runtime_error);
}

__global__ void copy_16_bytes(const float* from, float* to) {
    store_16_bytes(to, load_16_bytes(from));
}

TEST_F(Rig, AMisalignedVectorIsAnError) {
    auto* const from = allocate<float>(8);
    auto* const to = allocate<float>(4);
    write(from, {1, 2, 3, 4, 5, 6, 7, 8});

    launch(copy_16_bytes, 1, 1, 0, stream_, from + 4, to);
    EXPECT_EQ(read(to, 4), (std::vector<float>{5, 6, 7, 8}));

    launch(copy_16_bytes, 1, 1, 0, stream_, from + 1, to);
    EXPECT_THROW(device::wait(stream_), std::runtime_error);
}

enum class Wait { for_all, for_all_but_one, removed };

/// Every thread copies its 16 bytes and, in a second group, zeros; out gets the first float of each.
template <Wait wait, Barrier barrier>
__global__ void copy_through_shared_memory(const float* from, float* out) {
    __shared__ __align__(16) float values[4 * threads];
    __shared__ __align__(16) float zeros[4 * threads];
    const unsigned i = threadIdx.x, next = (i + 1) % threads;
    copy_16_bytes_later(values + 4 * i, from + 4 * i, true);
    commit_copies();
    copy_16_bytes_later(zeros + 4 * i, from + 4 * i, false);
    commit_copies();
    if constexpr (wait == Wait::for_all) wait_for_copies<0>();
    if constexpr (wait == Wait::for_all_but_one) wait_for_copies<1>();
    if constexpr (barrier == Barrier::there) __syncthreads();
    out[i] = values[4 * next];
    out[threads + i] = zeros[4 * next];
}

class RigCopies : public Rig {
protected:
    RigCopies() {
        std::vector<float> values;
        for (int i = 0; i < 4 * threads; ++i) values.push_back(static_cast<float>(i));
        write(from_, values);
    }

    /// How many of the values and of the zeros are not there.
    std::pair<int, int> missing(void (*kernel)(const float*, float*)) {
        launch(kernel, 1, threads, 0, stream_, from_, out_);
        const auto out = read(out_, 2 * threads);
        std::pair<int, int> count{0, 0};
        for (int i = 0; i < threads; ++i) {
            count.first += out[static_cast<size_t>(i)] != float(4 * ((i + 1) % threads));
            count.second += out[static_cast<size_t>(threads + i)] != 0.0f;
        }
        return count;
    }

    float* from_ = allocate<float>(4 * threads);
    float* out_ = allocate<float>(2 * threads);
};

TEST_F(RigCopies, AreThereAfterTheWaitForTheirGroupAndNotBefore) {
    using Count = std::pair<int, int>;

    EXPECT_EQ(missing(copy_through_shared_memory<Wait::for_all, Barrier::there>), Count(0, 0));
    EXPECT_EQ(missing(copy_through_shared_memory<Wait::for_all_but_one, Barrier::there>), Count(0, threads));
    EXPECT_EQ(missing(copy_through_shared_memory<Wait::removed, Barrier::there>), Count(threads, threads));
}

TEST_F(RigCopies, AreForOtherThreadsThereAfterABarrierOnly) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        rig::set_seed(seed);

        EXPECT_GT(missing(copy_through_shared_memory<Wait::for_all, Barrier::removed>).first, 0);
    }
}

__global__ void sum_all_of(const float* values, int count, float* sum) {
    __shared__ float never_written[1];
    if (count < 0) never_written[0] = 0;  // else the compiler knows what it holds
    float total = 0;
    for (int i = 0; i < count; ++i) total += values[i];
    sum[0] = total;
    sum[1] = never_written[0];
    sum[2] = *dynamic_shared<float>();
}

TEST_F(Rig, WhatWasNotWrittenIsNotANumber) {
    auto* const values = allocate<float>(3);
    auto* const sum = allocate<float>(3);
    write(values, {1, 2});  // one element short

    launch(sum_all_of, 1, 1, sizeof(float), stream_, values, 3, sum);

    for (const float s : read(sum, 3)) EXPECT_TRUE(std::isnan(s));
}

__global__ void set_first(float* to, int index) {
    to[index] = 1;
}

TEST_F(Rig, WorkOnAnotherStreamIsNotThereBeforeItsEvent) {
    const device::Stream other = device::make_stream();
    auto* const value = allocate<float>(1);

    launch(set_first, 1, 1, 0, other, value, 0);
    EXPECT_TRUE(std::isnan(read(value, 1)[0]));
    device::order(other, stream_);
    EXPECT_EQ(read(value, 1)[0], 1.0f);

    device::destroy(other);
}

TEST_F(Rig, ASumOverRanksIsNotThereBeforeItsEvent) {
    const device::Stream other = device::make_stream();
    auto* const value = allocate<float>(1);
    launch(set_first, 1, 1, 0, other, value, 0);
    ncclUniqueId id{};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclComm_t comm = nullptr;
    ncclGetUniqueId(&id);
    ncclCommInitRankConfig(&comm, 1, id, 0, &config);

    ncclAllReduce(value, value, 1, ncclFloat32, ncclSum, comm, other);
    const device::Event arrived = device::record(other);
    auto* const later = allocate<float>(1);
    launch(set_first, 1, 1, 0, stream_, later, 0);
    device::order(stream_, other);
    ncclAllReduce(later, later, 1, ncclFloat32, ncclSum, comm, other);
    EXPECT_TRUE(std::isnan(read(value, 1)[0]));
    device::order(arrived, stream_);
    EXPECT_EQ(read(value, 1)[0], 1.0f);
    EXPECT_TRUE(std::isnan(read(later, 1)[0]));

    ncclCommDestroy(comm);
    device::destroy(other);
}

/// Host memory that a copy reads or writes while the host goes on.
class Pinned {
public:
    explicit Pinned(size_t bytes) : memory_(device::allocate_pinned(bytes)) {}
    ~Pinned() { device::release_pinned(memory_); }
    Pinned(const Pinned&) = delete;
    Pinned& operator=(const Pinned&) = delete;
    std::byte* bytes() const { return memory_; }
    float& value() const { return *reinterpret_cast<float*>(memory_); }

private:
    std::byte* memory_;
};

TEST_F(Rig, PinnedMemoryThatChangesBeforeItsCopyIsDoneIsAnError) {
    const Pinned host(sizeof(float));
    auto* const value = allocate<float>(1);
    const auto send = [&] {
        host.value() = 1;
        device::copy(reinterpret_cast<std::byte*>(value), host.bytes(), sizeof(float),
                     device::Copy::to_device, stream_);
    };

    send();
    device::wait(device::record(stream_));
    host.value() = 2;
    EXPECT_EQ(read(value, 1)[0], 1.0f);

    send();
    host.value() = 2;
    EXPECT_THROW(device::wait(stream_), std::runtime_error);
}

TEST_F(Rig, PageableMemoryMayChangeAsSoonAsItsCopyIsUnderWay) {
    auto* const value = allocate<float>(1);
    std::vector<float> host{1};

    write(value, host);
    host[0] = 2;

    EXPECT_EQ(read(value, 1)[0], 1.0f);
}

TEST_F(Rig, WhatIsCopiedToPinnedMemoryIsNotThereBeforeItsEvent) {
    const Pinned host(sizeof(float));
    auto* const value = allocate<float>(1);
    host.value() = 0;

    launch(set_first, 1, 1, 0, stream_, value, 0);
    device::copy(host.bytes(), reinterpret_cast<const std::byte*>(value), sizeof(float),
                 device::Copy::to_host, stream_);
    const device::Event copied = device::record(stream_);
    EXPECT_TRUE(std::isnan(host.value()));
    EXPECT_FALSE(device::passed(copied));
    device::wait(copied);

    EXPECT_EQ(host.value(), 1.0f);
    EXPECT_TRUE(device::passed(copied));
}

using RigDeathTest = Rig;

TEST_F(RigDeathTest, TheProcessorCannotTouchDeviceMemory) {
    auto* const value = allocate<float>(1);

    EXPECT_DEATH(*value = 1, "");
}

TEST_F(RigDeathTest, AnIndexOffByOneIsFoundByTheAddressSanitizer) {
#ifdef ESPALIER_ASAN
    auto* const values = allocate<float>(5);
    const auto run = [&](int index) {
        launch(set_first, 1, 1, 0, stream_, values, index);
        device::wait(stream_);
    };

    run(4);
    EXPECT_DEATH(run(5), "AddressSanitizer");
#else
    GTEST_SKIP() << "needs the address sanitizer (preset debug)";
#endif
}

TEST_F(Rig, ALaunchThatNoDeviceTakesIsAnError) {
    const auto expect_refused = [&](dim3 grid, dim3 block) {
        EXPECT_THROW(launch(set_first, grid, block, 0, stream_, allocate<float>(1), 0), std::runtime_error);
    };

    expect_refused(0x80000000U, 1);
    expect_refused({1, 65536}, 1);
    expect_refused({1, 1, 65536}, 1);
    expect_refused(1, 1025);
    expect_refused(1, {1, 1, 65});
}

__global__ void sums(const float* values, float* out) {
    const float value = values[threadIdx.x];
    const float warps = reduce_warp<Sum>(value);
    if (threadIdx.x % warp == 0) out[threadIdx.x / warp] = warps;
    const float all = reduce_block<Sum, threads>(value), most = reduce_block<Max, threads>(value);
    if (threadIdx.x == 0) {
        out[2] = all;
        out[3] = most;
    }
}

TEST_F(Rig, ReducesOverWarpsAndBlocks) {
    auto* const values = allocate<float>(threads);
    auto* const out = allocate<float>(4);
    std::vector<float> input;
    for (int i = 0; i < threads; ++i) input.push_back(static_cast<float>(i));
    write(values, input);

    launch(sums, 1, threads, 0, stream_, values, out);

    EXPECT_EQ(read(out, 4), (std::vector<float>{496, 1520, 2016, 63}));
}

/// d [16, 8] = a [16, 16] b [16, 8], both row-major, through the fragments of the tensor cores.
__global__ void multiply_tile(const __nv_bfloat16* a, const __nv_bfloat16* b, float* d) {
    __shared__ __align__(16) __nv_bfloat16 left[16 * 16];
    __shared__ __align__(16) __nv_bfloat16 right[16 * 16];
    const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
    for (int i = lane; i < 16 * 16; i += warp) {
        left[i] = a[i];
        right[i] = i % 16 < 8 ? b[i / 16 * 8 + i % 16] : __float2bfloat16(0.0f);
    }
    __syncthreads();
    uint32_t fragment_a[4], fragment_b[4];
    load_matrices(fragment_a, left + lane % 16 * 16 + lane / 16 * 8);
    load_matrices_transposed(fragment_b, right + lane % 16 * 16 + lane / 16 * 8);
    float sum[4] = {};
    const uint32_t columns[2] = {fragment_b[0], fragment_b[1]};
    multiply_add(sum, fragment_a, columns);
    for (int i = 0; i < 4; ++i) d[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = sum[i];
}

TEST_F(Rig, FragmentsOfTensorCoresMultiply) {
    const auto a = test::rounded_to(DType::bf16, test::random_values(256, 1));
    const auto b = test::rounded_to(DType::bf16, test::random_values(128, 2));
    const auto upload = [&](const test::Values& values) {
        std::vector<__nv_bfloat16> bits;
        for (const double v : values) bits.push_back(__float2bfloat16(static_cast<float>(v)));
        auto* const to = allocate<__nv_bfloat16>(bits.size());
        write(to, bits);
        return to;
    };
    auto* const d = allocate<float>(128);

    launch(multiply_tile, 1, 32, 0, stream_, upload(a), upload(b), d);

    test::Values expected;
    for (int i = 0; i < 16; ++i) {
        for (int j = 0; j < 8; ++j) {
            double sum = 0;
            for (int k = 0; k < 16; ++k)
                sum += a[static_cast<size_t>(16 * i + k)] * b[static_cast<size_t>(8 * k + j)];
            expected.push_back(sum);
        }
    }
    const auto got = read(d, 128);
    EXPECT_TRUE(
        test::near_all({got.begin(), got.end()}, expected, test::tolerance(Device::cuda, DType::f32)));
}

}  // namespace
}  // namespace espalier::cuda
