#include "src/comm/node_transport.hpp"

namespace espalier::comm {

SharedMemory& NodeTransport::memory() {
    if (!memory_) memory_.emplace(comm());
    return *memory_;
}

void NodeTransport::all_reduce(Context& ctx, Tensor& x) {
    const std::vector<int64_t> offsets = even_offsets(x.size(), size());
    Tensor flat = x.view({x.size()}), mine = part_of(flat, offsets, rank());
    reduce_scatter(ctx, flat, mine, offsets);
    all_gather(ctx, mine, flat, offsets);
}

Request NodeTransport::all_gather(Context& ctx, const Tensor& part, Tensor& whole,
                                  std::span<const int64_t> offsets) {
    memory().all_gather(part, whole, offsets, ctx.threads());
    return {};
}

Request NodeTransport::reduce_scatter(Context& ctx, const Tensor& whole, Tensor& part,
                                      std::span<const int64_t> offsets) {
    memory().reduce_scatter(whole, part, offsets, ctx.threads());
    return {};
}

}  // namespace espalier::comm
