#include "src/model/head_blocks.hpp"

#include <algorithm>

#include "kernels/matmul.hpp"

namespace espalier::model {
namespace {

using Storage = HeadBlocks::Storage;

/// What logits may take at a time.
struct Budget {
    int64_t block_bytes;  ///< over a rank's whole vocabulary
    int64_t part_bytes;   ///< over a part of it
    int64_t most_rows;
};

Budget budget_of(Device device) {
    constexpr int64_t mib = 1 << 20;
    return device == Device::cuda ? Budget{1024 * mib, 1024 * mib, 8192} : Budget{16 * mib, 8 * mib, 2048};
}

// For each block the head is packed, and its gradient read and written in f32, which products of fewer tokens
// do not hide; those in bf16, which take half as long, not of fewer than twice as many.
constexpr int64_t least_rows = 114;
constexpr int64_t enough_rows = 2 * least_rows;

// Of logits that are computed again. Twice as many ids at a time take as long, half as many tokens 5 to 10 %
// longer: the head's gradient is read and written for each block.
constexpr int64_t most_rows_again = 512;
constexpr int64_t least_columns = 1024;           ///< of a part, for which a product is worth its call
constexpr int64_t part_bytes = int64_t{2} << 20;  ///< of one model; a second-level cache

/// [0, total) in parts of nearly equal size.
std::vector<Range> split_into(int64_t total, int64_t count) {
    std::vector<Range> parts;
    for (int64_t i = 0; i < count; ++i) parts.push_back(split_evenly(total, count, i));
    return parts;
}

/// In parts of at most `most`.
std::vector<Range> split_at(int64_t total, int64_t most) {
    return split_into(total, div_ceil(total, most));
}

}  // namespace

std::vector<Range> logit_blocks(const Architecture& a, Device device, DType dtype, int tp, int64_t tokens) {
    const Budget budget = budget_of(device);
    const int64_t row_bytes = 4 * div_ceil<int64_t>(a.vocab, tp),
                  most = std::min(budget.block_bytes / row_bytes, budget.most_rows),
                  least = dtype == DType::f32 ? std::clamp(tokens / 9, least_rows, enough_rows) : enough_rows;
    if (most >= least || tokens == 0) return split_at(tokens, std::max(most, least));
    return split_into(tokens, std::max<int64_t>((tokens + least / 2) / least, 1));  // of about `least`
}

std::vector<Range> loss_blocks(Device device, int64_t tokens) {
    return split_at(tokens, budget_of(device).most_rows);
}

int64_t loss_parts(const Architecture& a, Device device, int tp, int64_t rows) {
    const int64_t columns = std::max<int64_t>(budget_of(device).part_bytes / (4 * rows), 1);
    return div_ceil(div_ceil<int64_t>(a.vocab, tp), columns);
}

Storage head_storage(Device device, DType dtype) {
    return multiplies_faster_than_memory(device, dtype) ? Storage::computed_again : Storage::kept;
}

HeadBlocks head_blocks(const Architecture& a, Device device, DType dtype, int tp, int64_t tokens,
                       Storage storage) {
    HeadBlocks out{{}, 1, storage};
    if (storage == Storage::kept) {
        out.tokens = logit_blocks(a, device, dtype, tp, tokens);
        if (!out.tokens.empty()) out.parts = loss_parts(a, device, tp, out.tokens.front().size());
        return out;
    }
    out.tokens = split_at(tokens, most_rows_again);
    if (out.tokens.empty()) return out;
    const int64_t columns = std::max(part_bytes / (4 * out.tokens.front().size()), least_columns);
    out.parts = div_ceil(div_ceil<int64_t>(a.vocab, tp), columns);
    return out;
}

}  // namespace espalier::model
