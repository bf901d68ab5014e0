#include "src/comm/shared_memory.hpp"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "src/comm/mpi.hpp"
#include "src/core/exact.hpp"

namespace espalier::comm {
namespace {

constexpr size_t header_bytes = 4096;

/// A rank's count of operations it has published, alone on its page.
std::atomic<uint64_t>& arrived(std::byte* rank_base) {
    return *reinterpret_cast<std::atomic<uint64_t>*>(rank_base);
}

/// Tells a core that this is a loop of waiting.
void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Messages that other ranks wait for go on meanwhile: where a library moves them in its calls alone, as over
/// TCP, somebody may wait for one of ours before it comes to this barrier.
void make_progress(MPI_Comm comm) {
    int found = 0;
    CHECK_MPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm, &found, MPI_STATUS_IGNORE));
}

void wait_until(const std::atomic<uint64_t>& count, uint64_t epoch, MPI_Comm comm) {
    // With a core for each rank the others arrive within microseconds; with fewer, somebody needs this one.
    for (int spins = 0; spins < 4096; ++spins) {
        if (count.load(std::memory_order_acquire) >= epoch) return;
        relax();
    }
    while (count.load(std::memory_order_acquire) < epoch) {
        make_progress(comm);
        sched_yield();
    }
}

void copy(std::byte* to, const std::byte* from, size_t bytes, int threads) {
    if (bytes < (size_t{1} << 18) || threads == 1) {
        std::memcpy(to, from, bytes);
        return;
    }
#pragma omp parallel for num_threads(threads)
    for (int t = 0; t < threads; ++t) {
        const Range r = split_evenly(narrow<int64_t>(bytes), threads, t);
        std::memcpy(to + r.begin, from + r.begin, static_cast<size_t>(r.size()));
    }
}

template <class T>
void sum_slots(std::span<std::byte* const> slots, T* out, int64_t n, int threads) {
    using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
#pragma omp parallel for num_threads(threads) if (n > 65536)
    for (int64_t begin = 0; begin < n; begin += 2048) {
        const int64_t count = std::min<int64_t>(2048, n - begin);
        Sum sum[2048];
        for (size_t r = 0; r < slots.size(); ++r) {
            const T* part = reinterpret_cast<const T*>(slots[r]) + begin;
            if (r == 0) {
                for (int64_t i = 0; i < count; ++i) sum[i] = static_cast<Sum>(part[i]);
            } else {
                for (int64_t i = 0; i < count; ++i) sum[i] += static_cast<Sum>(part[i]);
            }
        }
        for (int64_t i = 0; i < count; ++i) out[begin + i] = T(sum[i]);
    }
}

void sum_slots(DType dtype, std::span<std::byte* const> slots, std::byte* out, int64_t n, int threads) {
    switch (dtype) {
        case DType::f32:
            return sum_slots(slots, reinterpret_cast<float*>(out), n, threads);
        case DType::bf16:
            return sum_slots(slots, reinterpret_cast<bfloat16*>(out), n, threads);
        case DType::f64:
            return sum_slots(slots, reinterpret_cast<double*>(out), n, threads);
        default:
            throw InternalError("no sum over integers");
    }
}

/// Elements of the longest part.
int64_t longest(std::span<const int64_t> offsets) {
    int64_t out = 0;
    for (size_t r = 0; r + 1 < offsets.size(); ++r) out = std::max(out, offsets[r + 1] - offsets[r]);
    return out;
}

/// How many of at most `block` elements from `begin` on rank r's part has.
int64_t piece(std::span<const int64_t> offsets, int r, int64_t begin, int64_t block) {
    return std::clamp(offsets[r + 1] - offsets[r] - begin, int64_t{0}, block);
}

}  // namespace

SharedMemory::SharedMemory(MPI_Comm comm) : comm_(comm), stride_(header_bytes + 2 * slot_bytes) {
    CHECK_MPI(MPI_Comm_rank(comm, &rank_));
    CHECK_MPI(MPI_Comm_size(comm, &size_));
    void* mine = nullptr;
    CHECK_MPI(MPI_Win_allocate_shared(narrow<MPI_Aint>(stride_), 1, MPI_INFO_NULL, comm, &mine, &window_));
    new (mine) std::atomic<uint64_t>(0);
    MPI_Aint bytes = 0;
    int unit = 0;
    void* first = nullptr;
    CHECK_MPI(MPI_Win_shared_query(window_, 0, &bytes, &unit, &first));
    base_ = static_cast<std::byte*>(first);
    CHECK_MPI(MPI_Barrier(comm));
}

SharedMemory::~SharedMemory() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    // While unwinding the other ranks are elsewhere, and freeing a window is collective.
    if (!finalized && !unwinding_.under_way()) MPI_Win_free(&window_);
}

std::byte* SharedMemory::slot(int rank) const {
    return base_ + static_cast<size_t>(rank) * stride_ + header_bytes + (epoch_ & 1) * slot_bytes;
}

void SharedMemory::exchange(const std::function<void()>& read) {
    arrived(base_ + static_cast<size_t>(rank_) * stride_).store(epoch_ + 1, std::memory_order_release);
    for (int r = 0; r < size_; ++r)
        wait_until(arrived(base_ + static_cast<size_t>(r) * stride_), epoch_ + 1, comm_);
    read();
    ++epoch_;
}

void SharedMemory::all_gather(const Tensor& part, Tensor& whole, std::span<const int64_t> offsets,
                              int threads) {
    const size_t element = size_of(whole.dtype());
    const auto block = narrow<int64_t>(slot_bytes / element);
    for (int64_t begin = 0; begin < longest(offsets); begin += block) {
        const auto bytes_of = [&](int r) { return piece(offsets, r, begin, block) * element; };
        const std::byte* const mine = part.raw() + begin * element;
        if (const size_t n = bytes_of(rank_)) copy(slot(rank_), mine, n, threads);
        exchange([&] {
            for (int i = 0; i < size_; ++i) {
                const int r = (rank_ + i) % size_;
                const std::byte* from = r == rank_ ? mine : slot(r);
                std::byte* to = whole.raw() + (offsets[r] + begin) * element;
                if (const size_t n = bytes_of(r); n > 0 && to != from) copy(to, from, n, threads);
            }
        });
    }
}

void SharedMemory::reduce_scatter(const Tensor& whole, Tensor& part, std::span<const int64_t> offsets,
                                  int threads) {
    const size_t element = size_of(whole.dtype());
    // Elements of each rank's part that fit a slot together.
    const int64_t block = narrow<int64_t>(slot_bytes / element) / size_;
    for (int64_t begin = 0; begin < longest(offsets); begin += block) {
        for (int r = 0; r < size_; ++r) {
            if (const size_t n = piece(offsets, r, begin, block) * element)
                copy(slot(rank_) + r * block * element, whole.raw() + (offsets[r] + begin) * element, n,
                     threads);
        }
        exchange([&] {
            std::vector<std::byte*> slots;
            for (int r = 0; r < size_; ++r) slots.push_back(slot(r) + rank_ * block * element);
            sum_slots(whole.dtype(), slots, part.raw() + begin * element, piece(offsets, rank_, begin, block),
                      threads);
        });
    }
}

}  // namespace espalier::comm
