#include "src/comm/shared_memory.hpp"

#include <immintrin.h>
#include <sched.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <vector>

#include "src/comm/mpi.hpp"
#include "src/core/exact.hpp"
#include "src/core/tensor.hpp"

namespace espalier::comm {
namespace {

constexpr size_t header_bytes = 4096;

/// A rank's count of operations it has published, alone on its page.
std::atomic<uint64_t>& arrived(std::byte* rank_base) {
    return *reinterpret_cast<std::atomic<uint64_t>*>(rank_base);
}

void wait_until(const std::atomic<uint64_t>& count, uint64_t epoch) {
    for (int spins = 0; count.load(std::memory_order_acquire) < epoch; ++spins) {
        // With a core for each rank the others arrive within microseconds; with fewer, somebody needs this
        // one.
        if (spins < 4096) {
            _mm_pause();
        } else {
            sched_yield();
        }
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

}  // namespace

SharedMemory::SharedMemory(MPI_Comm comm) : stride_(header_bytes + 2 * slot_bytes) {
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
    if (!finalized && std::uncaught_exceptions() == 0) MPI_Win_free(&window_);
}

std::byte* SharedMemory::slot(int rank) const {
    return base_ + static_cast<size_t>(rank) * stride_ + header_bytes + (epoch_ & 1) * slot_bytes;
}

void SharedMemory::exchange(const std::function<void()>& read) {
    arrived(base_ + static_cast<size_t>(rank_) * stride_).store(epoch_ + 1, std::memory_order_release);
    for (int r = 0; r < size_; ++r) wait_until(arrived(base_ + static_cast<size_t>(r) * stride_), epoch_ + 1);
    read();
    ++epoch_;
}

void SharedMemory::all_gather(std::span<const std::byte> part, std::span<std::byte> whole,
                              std::span<const size_t> offsets, int threads) {
    const auto bytes_of = [&](int r) {
        return offsets[static_cast<size_t>(r) + 1] - offsets[static_cast<size_t>(r)];
    };
    size_t longest = 0;
    for (int r = 0; r < size_; ++r) longest = std::max(longest, bytes_of(r));
    for (size_t begin = 0; begin < longest; begin += slot_bytes) {
        const auto piece = [&](size_t total) {
            return total > begin ? std::min(slot_bytes, total - begin) : 0;
        };
        if (const size_t mine = piece(part.size())) copy(slot(rank_), part.data() + begin, mine, threads);
        exchange([&] {
            for (int i = 0; i < size_; ++i) {
                const int r = (rank_ + i) % size_;
                const std::byte* from = r == rank_ ? part.data() + begin : slot(r);
                std::byte* to = whole.data() + offsets[static_cast<size_t>(r)] + begin;
                const size_t n = piece(bytes_of(r));
                if (n > 0 && to != from) copy(to, from, n, threads);
            }
        });
    }
}

void SharedMemory::reduce_scatter(DType dtype, const std::byte* whole, std::byte* part,
                                  std::span<const size_t> offsets, int threads) {
    const size_t element = size_of(dtype), ranks = static_cast<size_t>(size_);
    const size_t block =
        slot_bytes / (ranks * element);  // elements of each rank's part that fit a slot together
    size_t longest = 0;
    for (size_t r = 0; r < ranks; ++r) longest = std::max(longest, offsets[r + 1] - offsets[r]);
    for (size_t begin = 0; begin < longest; begin += block) {
        const auto piece = [&](size_t r) {
            const size_t total = offsets[r + 1] - offsets[r];
            return total > begin ? std::min(block, total - begin) : 0;
        };
        for (size_t r = 0; r < ranks; ++r) {
            if (const size_t n = piece(r))
                copy(slot(rank_) + r * block * element, whole + (offsets[r] + begin) * element, n * element,
                     threads);
        }
        exchange([&] {
            const size_t me = static_cast<size_t>(rank_);
            std::vector<std::byte*> slots;
            for (int r = 0; r < size_; ++r) slots.push_back(slot(r) + me * block * element);
            const auto n = narrow<int64_t>(piece(me));
            std::byte* out = part + begin * element;
            switch (dtype) {
                case DType::f32:
                    sum_slots(slots, reinterpret_cast<float*>(out), n, threads);
                    break;
                case DType::bf16:
                    sum_slots(slots, reinterpret_cast<bfloat16*>(out), n, threads);
                    break;
                case DType::f64:
                    sum_slots(slots, reinterpret_cast<double*>(out), n, threads);
                    break;
                default:
                    throw InternalError("no sum over integers");
            }
        });
    }
}

}  // namespace espalier::comm
