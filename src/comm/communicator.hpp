// Collectives on tensors among some of the ranks. A default-made Communicator is the serial case: one rank,
// for which every operation is a copy or nothing at all.
#pragma once

#include <mpi.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/comm/transport.hpp"

namespace espalier::comm {

enum class Reduction { sum, max };

/// A tensor that is made beside what this rank goes on with.
class Arriving {
public:
    Arriving() = default;  ///< nothing
    Arriving(Tensor tensor, Request request) : tensor_(std::move(tensor)), request_(std::move(request)) {}

    /// The tensor; what is put on the context's stream from now on comes after it.
    Tensor take() {
        request_.wait();
        return std::move(tensor_);
    }

private:
    Tensor tensor_;
    Request request_;
};

/// Handle; copies share. All operations are collective over the communicator's ranks, which call them in the
/// same order with matching arguments. Sums of the host's tensors run in f32 (f64 for f64) in the order of
/// ranks where all ranks share a node, so that every rank has the same bits; over a network, and for spans of
/// numbers, MPI's order holds, the same from run to run on one layout. Tensors of a device go through NCCL
/// (whose order holds, and which rounds sums of bf16 at every step) on a stream of its own, behind what is on
/// the context's and before what is put there next; those of the host go through memory or MPI.
class Communicator {
public:
    Communicator() = default;
    /// Takes over `handle`, which is freed with the last copy; a communicator of one rank is the serial case.
    explicit Communicator(MPI_Comm handle);

    /// Collective, before the first operation on tensors of a device; nothing where ctx is a CPU's.
    /// Messages of such tensors go along `lanes` alone.
    void attach(Context& ctx, std::span<const Lane> lanes = {}) const;

    int rank() const;
    int size() const;
    /// MPI_COMM_SELF in the serial case.
    MPI_Comm handle() const;
    /// Wall time of this rank in all operations so far and in waiting for messages; of those on a device,
    /// what the host does for them.
    double seconds() const;
    /// On which that counts, for who waits for others' messages in ways of its own; null in the serial case.
    Stopwatch* watch() const;

    /// x = the sum over ranks, element by element. f32, bf16 or f64.
    void all_reduce(Context& ctx, Tensor& x) const;
    /// Rows of a [rows, ...] tensor of any dtype, split as split_evenly does: this rank's part -> the whole.
    /// The serial case returns `part` itself: a handle on the same memory.
    Tensor all_gather(Context& ctx, const Tensor& part, int64_t rows) const;
    /// The sum over ranks of `whole` [rows, ...] (f32, bf16 or f64), of which this rank gets its part of the
    /// rows. Serial: `whole` itself, a handle on the same memory.
    Tensor reduce_scatter(Context& ctx, const Tensor& whole) const;
    /// In place on a flat [n] tensor, of which rank r has elements offsets[r] .. offsets[r + 1]: gets every
    /// rank's; sums this rank's elements (f32) over ranks, and leaves the others undefined.
    void all_gather(Context& ctx, Tensor& flat, std::span<const int64_t> offsets) const;
    void reduce_scatter(Context& ctx, Tensor& flat, std::span<const int64_t> offsets) const;
    /// The same begun: on a device they run beside what is put on the stream until they are waited for or
    /// taken, which must not write what they read, nor touch what they write; on the host they are done.
    Arriving begin_reduce_scatter(Context& ctx, const Tensor& whole) const;
    Request begin_all_gather(Context& ctx, Tensor& flat, std::span<const int64_t> offsets) const;
    Request begin_reduce_scatter(Context& ctx, Tensor& flat, std::span<const int64_t> offsets) const;
    /// Equal parts one after another: part [n, ...] of any dtype -> [size, n, ...].
    Tensor gather_equal(Context& ctx, const Tensor& part) const;

    /// Starts sending to / receiving from a rank of this communicator; serial: itself, tensors of the host.
    Request send(const Tensor& x, int to, int tag) const;
    Request receive(Tensor& x, int from, int tag) const;

    void barrier() const;
    void all_reduce(std::span<double> values, Reduction reduction = Reduction::sum) const;
    int64_t all_reduce(int64_t value, Reduction reduction) const;
    /// Whether it is so on some rank.
    bool any(bool here) const { return all_reduce(here ? 1 : 0, Reduction::max) == 1; }
    std::string broadcast(std::string content, int root = 0) const;

private:
    struct State;
    std::shared_ptr<State> state_;
};

/// Rows of `rows` that belong to this rank of a communicator.
inline Range my_rows(const Communicator& c, int64_t rows) {
    return split_evenly(rows, c.size(), c.rank());
}

}  // namespace espalier::comm
