// Tensors between the ranks of one node, through memory that they share.
#pragma once

#include <optional>

#include "src/comm/mpi_transport.hpp"
#include "src/comm/shared_memory.hpp"

namespace espalier::comm {

/// Sums run in f32 (f64 for f64, which reduce_scatter takes here too) in the order of ranks, so that every
/// rank has the same bits. Messages go over MPI.
class NodeTransport final : public MpiTransport {
public:
    /// All ranks of `comm` share a node.
    explicit NodeTransport(MPI_Comm comm) : MpiTransport(comm) {}

    void all_reduce(Context& ctx, Tensor& x) override;
    Request all_gather(Context& ctx, const Tensor& part, Tensor& whole,
                       std::span<const int64_t> offsets) override;
    Request reduce_scatter(Context& ctx, const Tensor& whole, Tensor& part,
                           std::span<const int64_t> offsets) override;

private:
    SharedMemory& memory();

    std::optional<SharedMemory> memory_;  // made at first use: most communicators move little
};

}  // namespace espalier::comm
