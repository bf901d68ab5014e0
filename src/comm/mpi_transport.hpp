// Tensors between ranks over MPI: whatever network there is, of host memory.
#pragma once

#include "src/comm/transport.hpp"

namespace espalier::comm {

/// Sums of bf16 run in f32. Their order is MPI's, the same from run to run on one layout. What fits MPI's
/// counts goes in one call, for which libraries know the network's best way; of the rest an all-reduce takes
/// a call for each piece, and other collectives go round a ring in pieces, as do sums in place, which add up
/// rank r's part in the order r + 1, r + 2 .. r.
class MpiTransport : public Transport {
public:
    /// Elements that go in one call, below what MPI counts in an int.
    static constexpr int64_t longest_piece = int64_t{1} << 28;
    /// Elements that travel round a ring while those before them are summed.
    static constexpr int64_t ring_piece = int64_t{1} << 18;

    /// `comm` stays the caller's. `longest` is another number of elements for tests.
    explicit MpiTransport(MPI_Comm comm, int64_t longest = longest_piece);

    void all_reduce(Context& ctx, Tensor& x) override;
    Request all_gather(Context& ctx, const Tensor& part, Tensor& whole,
                       std::span<const int64_t> offsets) override;
    Request reduce_scatter(Context& ctx, const Tensor& whole, Tensor& part,
                           std::span<const int64_t> offsets) override;
    Request send(const Tensor& x, int to, int tag) override;
    Request receive(Tensor& x, int from, int tag) override;

protected:
    MPI_Comm comm() const { return comm_; }
    int rank() const { return rank_; }
    int size() const { return size_; }

private:
    template <class Start>
    std::vector<MPI_Request> start_pieces(Range all, Start start) const;
    template <class Into, class Arrived>
    void circulate(const Tensor& flat, std::span<const int64_t> offsets, int first, Into into,
                   Arrived arrived) const;
    void sum_in_place(Context& ctx, const Tensor& flat, std::span<const int64_t> offsets) const;

    MPI_Comm comm_;
    int64_t longest_;
    int rank_ = 0;
    int size_ = 1;
};

}  // namespace espalier::comm
