// A way for tensors between ranks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/comm/request.hpp"
#include "src/core/context.hpp"
#include "src/core/exact.hpp"

namespace espalier::comm {

/// Messages with this tag, which rank i of a communicator sends to rank i + step, in a ring (mod its size)
/// past the last or first one as well.
struct Lane {
    int tag;
    int step;
    bool ring;
};

/// Collective over the ranks of a communicator, which call the operations in the same order with matching
/// arguments. Parts of ranks lie one after another: rank r's are elements offsets[r] .. offsets[r + 1] of the
/// whole, whose size + 1 offsets all ranks give alike.
class Transport {
public:
    Transport() = default;
    virtual ~Transport() = default;
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;

    /// x = the sum over ranks, element by element. f32, bf16 or f64.
    virtual void all_reduce(Context& ctx, Tensor& x) = 0;
    /// whole = the ranks' parts; `part` may be this rank's part of `whole` itself, which is then only read.
    /// On a device it goes on beside what is put on the context's stream until the request has ended; on the
    /// host it is done.
    virtual Request all_gather(Context& ctx, const Tensor& part, Tensor& whole,
                               std::span<const int64_t> offsets) = 0;
    /// part = this rank's part of the sum over ranks of `whole`; may be that part of `whole` itself, whose
    /// other elements are then undefined. f32 or bf16. Goes on as all_gather does.
    virtual Request reduce_scatter(Context& ctx, const Tensor& whole, Tensor& part,
                                   std::span<const int64_t> offsets) = 0;

    /// Starts sending to / receiving from a rank. Messages of one tag between two ranks keep their order.
    virtual Request send(const Tensor& x, int to, int tag) = 0;
    virtual Request receive(Tensor& x, int from, int tag) = 0;
};

/// Offsets of `rows` rows of `width` elements, split over `size` ranks as split_evenly does.
inline std::vector<int64_t> even_offsets(int64_t rows, int size, int64_t width = 1) {
    std::vector<int64_t> offsets;
    for (int r = 0; r < size; ++r) offsets.push_back(split_evenly(rows, size, r).begin * width);
    offsets.push_back(rows * width);
    return offsets;
}

/// The elements of a flat [n] tensor that are this rank's part.
inline Tensor part_of(const Tensor& flat, std::span<const int64_t> offsets, int rank) {
    return flat.slice(offsets[rank], {offsets[rank + 1] - offsets[rank]});
}

}  // namespace espalier::comm
