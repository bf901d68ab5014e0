#include "src/comm/mpi_transport.hpp"

#include <algorithm>
#include <array>
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

std::vector<Range> pieces_of(Range all, int64_t longest) {
    std::vector<Range> pieces;
    for (int64_t begin = all.begin; begin < all.end; begin += longest)
        pieces.push_back({begin, std::min(begin + longest, all.end)});
    return pieces;
}

/// Apart from the tags of messages between stages, which may be under way.
constexpr int ring_tag = 1000;

}  // namespace

MpiTransport::MpiTransport(MPI_Comm comm, int64_t longest) : comm_(comm), longest_(longest) {
    CHECK_MPI(MPI_Comm_rank(comm, &rank_));
    CHECK_MPI(MPI_Comm_size(comm, &size_));
}

/// Calls start(piece, request) for the pieces of `all`, each at most longest_ elements.
template <class Start>
std::vector<MPI_Request> MpiTransport::start_pieces(Range all, Start start) const {
    std::vector<MPI_Request> requests;
    for (const Range piece : pieces_of(all, longest_)) start(piece, requests.emplace_back(MPI_REQUEST_NULL));
    return requests;
}

/// The parts of `flat` go round once: in step s of size - 1 this rank sends the part of rank first - s to the
/// next and gets the one of first - s - 1 from the one before. Piece k of a part arrives at into(k, piece);
/// arrived(k, piece) works on it while the next one travels. Of MPI it takes no collective without waiting:
/// Open MPI's runs one into another's progress until the stack ends (4.1, MPI_Ireduce of 84 MB over TCP).
template <class Into, class Arrived>
void MpiTransport::circulate(const Tensor& flat, std::span<const int64_t> offsets, int first, Into into,
                             Arrived arrived) const {
    const int next = (rank_ + 1) % size_, before = (rank_ + size_ - 1) % size_;
    const MPI_Datatype type = mpi_type(flat.dtype());
    const auto part_of = [&](int rank) {
        const auto r = static_cast<size_t>((rank + size_) % size_);
        return pieces_of({offsets[r], offsets[r + 1]}, std::min(longest_, ring_piece));
    };
    for (int step = 0; step + 1 < size_; ++step) {
        const auto out = part_of(first - step), in = part_of(first - step - 1);
        for (size_t k = 0; k <= std::max(out.size(), in.size()); ++k) {
            std::array<MPI_Request, 2> requests{MPI_REQUEST_NULL, MPI_REQUEST_NULL};
            if (k < in.size()) {
                CHECK_MPI(MPI_Irecv(into(k, in[k]), narrow<int>(in[k].size()), type, before, ring_tag, comm_,
                                    &requests[0]));
            }
            if (k < out.size()) {
                CHECK_MPI(MPI_Isend(flat.at(out[k].begin), narrow<int>(out[k].size()), type, next, ring_tag,
                                    comm_, &requests[1]));
            }
            if (k > 0 && k <= in.size()) arrived(k - 1, in[k - 1]);
            CHECK_MPI(MPI_Waitall(2, requests.data(), MPI_STATUSES_IGNORE));
        }
    }
}

/// This rank's part of flat = its sum over ranks; the other parts end as partial sums.
void MpiTransport::sum_in_place(Context& ctx, const Tensor& flat, std::span<const int64_t> offsets) const {
    const int64_t longest = std::min(longest_, ring_piece);
    const std::array<Tensor, 2> arriving{ctx.empty({longest}, flat.dtype()),
                                         ctx.empty({longest}, flat.dtype())};
    circulate(
        flat, offsets, rank_ - 1, [&](size_t k, Range) { return arriving[k % 2].raw(); },
        [&](size_t k, Range piece) {
            Tensor sum = flat.slice(piece.begin, {piece.size()});
            accumulate(ctx, arriving[k % 2].slice(0, {piece.size()}), sum);
        });
}

void MpiTransport::all_reduce(Context& ctx, Tensor& x) {
    if (x.dtype() == DType::bf16) {
        Tensor wide = ctx.empty(x.shape(), DType::f32);
        convert(ctx, x, wide);
        all_reduce(ctx, wide);
        return convert(ctx, wide, x);
    }
    for (int64_t begin = 0; begin < x.size(); begin += longest_) {
        const int64_t count = std::min(longest_, x.size() - begin);
        CHECK_MPI(MPI_Allreduce(MPI_IN_PLACE, x.at(begin), narrow<int>(count), mpi_type(x.dtype()), MPI_SUM,
                                comm_));
    }
}

Request MpiTransport::all_gather(Context&, const Tensor& part, Tensor& whole,
                                 std::span<const int64_t> offsets) {
    std::byte* const mine = whole.at(offsets[rank_]);
    if (part.size() > 0 && part.raw() != mine) std::memcpy(mine, part.raw(), part.bytes());
    if (whole.size() <= longest_) {
        const Parts parts(offsets);
        const MPI_Datatype type = mpi_type(whole.dtype());
        CHECK_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, type, whole.raw(), parts.counts.data(),
                                 parts.displacements.data(), type, comm_));
        return {};
    }
    circulate(
        whole, offsets, rank_, [&](size_t, Range piece) { return whole.at(piece.begin); },
        [](size_t, Range) {});
    return {};
}

Request MpiTransport::reduce_scatter(Context& ctx, const Tensor& whole, Tensor& part,
                                     std::span<const int64_t> offsets) {
    if (whole.dtype() == DType::bf16) {
        Tensor wide = ctx.empty(whole.shape(), DType::f32), sum = ctx.empty(part.shape(), DType::f32);
        convert(ctx, whole, wide);
        reduce_scatter(ctx, wide, sum, offsets);
        convert(ctx, sum, part);
        return {};
    }
    std::byte* const mine = whole.at(offsets[rank_]);
    const bool in_place = part.raw() == mine;  // which MPI's own is not: it sums to the front of `whole`
    if (whole.size() <= longest_ && !in_place) {
        CHECK_MPI(MPI_Reduce_scatter(whole.raw(), part.raw(), Parts(offsets).counts.data(),
                                     mpi_type(whole.dtype()), MPI_SUM, comm_));
        return {};
    }
    Tensor sums = whole.view({whole.size()});
    if (!in_place) {
        sums = ctx.empty({whole.size()}, whole.dtype());
        std::memcpy(sums.raw(), whole.raw(), whole.bytes());
    }
    sum_in_place(ctx, sums, offsets);
    if (!in_place && part.size() > 0) std::memcpy(part.raw(), sums.at(offsets[rank_]), part.bytes());
    return {};
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
