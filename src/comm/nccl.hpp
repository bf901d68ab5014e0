// Collectives on device memory, through NCCL. Free of NCCL's header; where has_cuda, nccl.cpp is behind it.
#pragma once

#include <mpi.h>

#include <memory>
#include <span>
#include <string>

#include "src/comm/transport.hpp"

namespace espalier::comm {

/// What the library lets ranks do: newer ones than 2.29 put several on one device where
/// NCCL_MULTI_RANK_GPU_ENABLE is set.
struct NcclFacts {
    std::string version, built;  ///< of the library, and of the headers that the build saw
    bool shares_devices;
};
NcclFacts nccl_facts();

/// The ranks of an MPI communicator with a stream of their own, ordered by events after what is on the
/// context's stream at the call and before what is put there later. Nothing waits on the host but the first
/// collectives of a kind, which connect the ranks and so wait for all of them. MPI carries only the ids by
/// which ranks find each other.
///
/// Messages have a communicator and a stream for each pair of ranks and tag: in a pipeline with one forward,
/// one backward, a send down must not wait for a receive up that is queued behind it.
class NcclTransport final : public Transport {
public:
    /// Collective; the device is selected. Messages go along `lanes` alone.
    NcclTransport(MPI_Comm comm, device::Stream compute, std::span<const Lane> lanes);
    ~NcclTransport() override;

    void all_reduce(Context& ctx, Tensor& x) override;
    Request all_gather(Context& ctx, const Tensor& part, Tensor& whole,
                       std::span<const int64_t> offsets) override;
    Request reduce_scatter(Context& ctx, const Tensor& whole, Tensor& part,
                           std::span<const int64_t> offsets) override;

    Request send(const Tensor& x, int to, int tag) override;
    Request receive(Tensor& x, int from, int tag) override;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace espalier::comm
