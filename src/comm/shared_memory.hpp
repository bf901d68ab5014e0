// Collectives through memory that the ranks of one node share: each rank copies what it has into its slot,
// all meet at a barrier, each reads what it needs. An MPI_Allreduce between two local ranks moves about 1
// GB/s; this moves what the memory gives.
#pragma once

#include <mpi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>

#include "src/comm/unwinding.hpp"
#include "src/core/tensor.hpp"

namespace espalier::comm {

/// Two slots of slot_bytes for every rank, used in turn: a slot is written again only after every rank has
/// passed the barrier of the operation in between, and so has read it. One barrier an operation is enough.
/// Ranks' parts lie one after another at size + 1 offsets, in elements.
class SharedMemory {
public:
    static constexpr size_t slot_bytes = size_t{2} << 20;

    /// Collective over `comm`, all of whose ranks share a node; it outlives this.
    explicit SharedMemory(MPI_Comm comm);
    ~SharedMemory();
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;

    /// whole[offsets[r] .. offsets[r + 1]) = rank r's `part`, which may be in its place already.
    void all_gather(const Tensor& part, Tensor& whole, std::span<const int64_t> offsets, int threads);
    /// part = the sum over ranks of whole[offsets[rank] .. offsets[rank + 1]), in the order of ranks; may be
    /// in that place. f32, bf16 (summed in f32), f64.
    void reduce_scatter(const Tensor& whole, Tensor& part, std::span<const int64_t> offsets, int threads);

private:
    std::byte* slot(int rank) const;
    /// Publishes this rank's slot, waits for everybody's, and goes on to the other slot after `read` returns.
    void exchange(const std::function<void()>& read);

    MPI_Comm comm_;
    MPI_Win window_ = MPI_WIN_NULL;
    int rank_ = 0;
    int size_ = 1;
    std::byte* base_ = nullptr;
    size_t stride_ = 0;
    uint64_t epoch_ = 0;
    Unwinding unwinding_;
};

}  // namespace espalier::comm
