#include "src/comm/mpi_transport.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/elementwise.hpp"
#include "src/comm/mpi.hpp"
#include "src/core/exact.hpp"

namespace espalier::comm {
namespace {

MPI_Datatype mpi_type(DType dtype) {
    switch (dtype) {
        case DType::f32:
            return MPI_FLOAT;
        case DType::f64:
            return MPI_DOUBLE;
        case DType::i32:
            return MPI_INT32_T;
        case DType::bf16:
            return MPI_UINT16_T;
        case DType::u8:
            return MPI_UINT8_T;
    }
    throw InternalError("unknown dtype");
}

/// Parts of ranks as MPI's own collectives of uneven parts take them.
struct Parts {
    std::vector<int> counts, displacements;

    explicit Parts(std::span<const int64_t> offsets) {
        for (size_t r = 0; r + 1 < offsets.size(); ++r) {
            counts.push_back(narrow<int>(offsets[r + 1] - offsets[r]));
            displacements.push_back(narrow<int>(offsets[r]));
        }
    }
};

}  // namespace

MpiTransport::MpiTransport(MPI_Comm comm, int64_t longest) : comm_(comm), longest_(longest) {
    CHECK_MPI(MPI_Comm_rank(comm, &rank_));
    CHECK_MPI(MPI_Comm_size(comm, &size_));
}

/// Calls start(piece, request) for the pieces of `all`, each at most longest_ elements.
template <class Start>
std::vector<MPI_Request> MpiTransport::start_pieces(Range all, Start start) const {
    std::vector<MPI_Request> requests;
    for (int64_t begin = all.begin; begin < all.end; begin += longest_) {
        const Range piece{begin, std::min(begin + longest_, all.end)};
        start(piece, requests.emplace_back(MPI_REQUEST_NULL));
    }
    return requests;
}

/// Calls start(rank, piece, request) for the pieces of every rank's part, and waits for all.
template <class Start>
void MpiTransport::for_each_piece_of_ranks(std::span<const int64_t> offsets, Start start) const {
    std::vector<MPI_Request> requests;
    for (size_t r = 0; r + 1 < offsets.size(); ++r) {
        const Range part{offsets[r], offsets[r + 1]};
        const auto started = start_pieces(
            part, [&](Range piece, MPI_Request& request) { start(narrow<int>(r), piece, request); });
        requests.insert(requests.end(), started.begin(), started.end());
    }
    CHECK_MPI(MPI_Waitall(narrow<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE));
}

void MpiTransport::all_reduce(Context& ctx, Tensor& x, Reduction reduction) {
    if (x.dtype() == DType::bf16) {
        Tensor wide = ctx.empty(x.shape(), DType::f32);
        convert(ctx, x, wide);
        all_reduce(ctx, wide, reduction);
        return convert(ctx, wide, x);
    }
    const MPI_Op operation = reduction == Reduction::sum ? MPI_SUM : MPI_MAX;
    for (int64_t begin = 0; begin < x.size(); begin += longest_) {
        const int64_t count = std::min(longest_, x.size() - begin);
        CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, x.at(begin), narrow<int>(count), mpi_type(x.dtype()), operation,
                                comm_));
    }
}

void MpiTransport::all_gather(Context&, const Tensor& part, Tensor& whole, std::span<const int64_t> offsets) {
    std::byte* const mine = whole.at(offsets[rank_]);
    if (part.size() > 0 && part.raw() != mine) std::memcpy(mine, part.raw(), part.bytes());
    if (whole.size() <= longest_) {
        const Parts parts(offsets);
        const MPI_Datatype type = mpi_type(whole.dtype());
        CHECK_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, type, whole.raw(), parts.counts.data(),
                                 parts.displacements.data(), type, comm_));
        return;
    }
    for_each_piece_of_ranks(offsets, [&](int root, Range piece, MPI_Request& request) {
        CHECK_MPI(MPI_Ibcast(whole.at(piece.begin), narrow<int>(piece.size()), mpi_type(whole.dtype()), root,
                             comm_, &request));
    });
}

void MpiTransport::reduce_scatter(Context& ctx, const Tensor& whole, Tensor& part,
                                  std::span<const int64_t> offsets) {
    if (whole.dtype() == DType::bf16) {
        Tensor wide = ctx.empty(whole.shape(), DType::f32), sum = ctx.empty(part.shape(), DType::f32);
        convert(ctx, whole, wide);
        reduce_scatter(ctx, wide, sum, offsets);
        return convert(ctx, sum, part);
    }
    // MPI's own would write the sum elsewhere than into `whole`.
    if (whole.size() <= longest_ && part.raw() != whole.at(offsets[rank_])) {
        CHECK_MPI(MPI_Reduce_scatter(whole.raw(), part.raw(), Parts(offsets).counts.data(),
                                     mpi_type(whole.dtype()), MPI_SUM, comm_));
        return;
    }
    for_each_piece_of_ranks(offsets, [&](int root, Range piece, MPI_Request& request) {
        const bool here = root == rank_;
        std::byte* const from = whole.at(piece.begin);
        std::byte* const to = here ? part.at(piece.begin - offsets[root]) : nullptr;
        CHECK_MPI(MPI_Ireduce(from == to ? MPI_IN_PLACE : from, to, narrow<int>(piece.size()),
                              mpi_type(whole.dtype()), MPI_SUM, root, comm_, &request));
    });
}

Request MpiTransport::send(const Tensor& x, int to, int tag) {
    return {x, start_pieces({0, x.size()}, [&](Range piece, MPI_Request& request) {
                CHECK_MPI(MPI_Isend(x.at(piece.begin), narrow<int>(piece.size()), mpi_type(x.dtype()), to,
                                    tag, comm_, &request));
            })};
}

Request MpiTransport::receive(Tensor& x, int from, int tag) {
    return {x, start_pieces({0, x.size()}, [&](Range piece, MPI_Request& request) {
                CHECK_MPI(MPI_Irecv(x.at(piece.begin), narrow<int>(piece.size()), mpi_type(x.dtype()), from,
                                    tag, comm_, &request));
            })};
}

}  // namespace espalier::comm
