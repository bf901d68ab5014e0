#include "src/model/logit_parts.hpp"

#include <algorithm>

#include "kernels/divergence.hpp"
#include "kernels/matmul.hpp"
#include "src/model/logits.hpp"

namespace espalier::model {
namespace {

using Storage = HeadBlocks::Storage;

// Of logits that are computed again. Twice as many ids at a time take as long, half as many tokens 5 to 10 %
// longer: the head's gradient is read and written for each block.
constexpr int64_t most_tokens = 512;
constexpr int64_t least_columns = 1024;           ///< of a part, for which a product is worth its call
constexpr int64_t part_bytes = int64_t{2} << 20;  ///< of one model; a second-level cache

}  // namespace

Storage head_storage(Device device, DType dtype) {
    return multiplies_faster_than_memory(device, dtype) ? Storage::computed_again : Storage::kept;
}

HeadBlocks head_blocks(const Architecture& a, Device device, int tp, int64_t tokens, Storage storage) {
    if (storage == Storage::kept) return {logit_blocks(a, device, tp, tokens), 1, storage};
    HeadBlocks out{split_into(tokens, most_tokens), 1, storage};
    if (out.tokens.empty()) return out;
    const int64_t columns = std::max(part_bytes / (4 * out.tokens.front().size()), least_columns);
    out.parts = div_ceil(div_ceil<int64_t>(a.vocab, tp), columns);
    return out;
}

Tensor LogitParts::get(Context& ctx, int64_t part) {
    Tensor& kept = kept_.at(static_cast<size_t>(part));
    if (kept) return kept;
    Tensor logits = source_(ctx, columns(part));
    if (storage_ == Storage::kept) kept = logits;
    return logits;
}

Tensor LogitParts::take(Context& ctx, int64_t part) {
    Tensor logits = get(ctx, part);
    kept_.at(static_cast<size_t>(part)) = {};
    return logits;
}

Tensor join_statistics(Context& ctx, const comm::Communicator& tensor, const Tensor& stats) {
    const auto [parts, rows, two] = stats.dims<3>();
    Tensor lse = ctx.empty({rows}, DType::f32);
    softmax_combine(ctx, tensor.gather_equal(ctx, stats).view({tensor.size() * parts, rows, two}), lse);
    return lse;
}

}  // namespace espalier::model
