// Collectives on device memory, through NCCL. Free of NCCL's header; where has_cuda, nccl.cpp is behind it.
#pragma once

#include <mpi.h>

#include <memory>
#include <span>
#include <vector>

#include "src/core/device.hpp"
#include "src/core/tensor.hpp"

namespace espalier::comm {

/// Messages with this tag, which rank i of a communicator sends to rank i + step (mod its size).
struct Lane {
    int tag;
    int step;
};

/// The ranks of an MPI communicator with a stream of their own, ordered by events after what is on the
/// context's stream at the call and before what is put there later; nothing waits on the processor. MPI
/// carries only the ids by which ranks find each other.
///
/// Messages have a communicator and a stream for each pair of ranks and tag: in a pipeline with one forward,
/// one backward, a send down must not wait for a receive up that is queued behind it.
class DeviceGroup {
public:
    /// Collective; the device is selected. Messages go along `lanes` alone.
    DeviceGroup(MPI_Comm comm, device::Stream compute, std::span<const Lane> lanes);
    ~DeviceGroup();
    DeviceGroup(const DeviceGroup&) = delete;
    DeviceGroup& operator=(const DeviceGroup&) = delete;

    enum class Operation { sum, max };
    /// x = the reduction over ranks. f32, f64, i32 or bf16.
    void all_reduce(Tensor& x, Operation operation);
    /// Parts of counts[r] elements, one after another, of every rank; `part` may be a part of `whole`.
    void all_gather(const Tensor& part, Tensor& whole, std::span<const size_t> counts);
    /// part = this rank's of the parts of the sum over ranks of `whole`; may be that part of `whole` itself.
    void reduce_scatter(const Tensor& whole, Tensor& part, std::span<const size_t> counts);

    /// Messages of a lane arrive in the order in which they were sent. Return the stream that the message is
    /// on; the tensor's memory is in use until device::order(stream, compute).
    device::Stream send(const Tensor& x, int to, int tag);
    device::Stream receive(Tensor& x, int from, int tag);

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace espalier::comm
