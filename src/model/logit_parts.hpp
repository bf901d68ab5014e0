// The logits of a block of tokens, of which few exist at a time: those of one part of this rank's vocabulary
// after another.
#pragma once

#include <functional>
#include <vector>

#include "src/model/transformer.hpp"

namespace espalier::model {

/// How the head of a training step goes through a micro-batch; the same on all ranks of a tensor group that
/// agree on `storage`.
struct HeadBlocks {
    /// What becomes of a part's logits between the pass that reads their statistics and the one that makes
    /// their gradient.
    enum class Storage { kept, computed_again };

    std::vector<Range> tokens;  ///< blocks of them, of nearly equal size
    int64_t parts = 1;          ///< of each rank's vocabulary
    Storage storage = Storage::kept;
};

/// What suits this processor or device: where it multiplies faster than it reads what it multiplies (AMX
/// tiles), products are cheaper done again in a cache than their results kept in memory.
HeadBlocks::Storage head_storage(Device device, DType dtype);

/// Kept: blocks as logit_blocks gives them, on a CPU in parts that a cache holds. Computed again: blocks of
/// up to 512 tokens, whose logits exist for 1024 ids or more.
HeadBlocks head_blocks(const Architecture& a, Device device, int tp, int64_t tokens,
                       HeadBlocks::Storage storage);

class LogitParts {
public:
    /// logits [rows, columns.size()] f32 of some columns of this rank's vocabulary; may be called again.
    using Source = std::function<Tensor(Context&, Range columns)>;

    LogitParts() = default;
    /// vocabulary: ids of this rank; parts: the same number on all ranks of the tensor group.
    LogitParts(Source source, Range vocabulary, int64_t parts, HeadBlocks::Storage storage)
        : source_(std::move(source)),
          vocabulary_(vocabulary),
          storage_(storage),
          kept_(static_cast<size_t>(parts)) {}
    explicit operator bool() const { return static_cast<bool>(source_); }

    int64_t count() const { return std::ssize(kept_); }
    /// Of this rank's vocabulary, from 0 on.
    Range columns(int64_t part) const { return split_evenly(vocabulary_.size(), count(), part); }
    int64_t first_id(int64_t part) const { return vocabulary_.begin + columns(part).begin; }

    /// [rows, columns(part).size()] f32; the same memory again where they are kept.
    Tensor get(Context& ctx, int64_t part);
    /// For the last time.
    Tensor take(Context& ctx, int64_t part);

private:
    Source source_;
    Range vocabulary_;
    HeadBlocks::Storage storage_ = HeadBlocks::Storage::kept;
    std::vector<Tensor> kept_;
};

/// lse [rows] f32 of each part's statistics (softmax_statistics), [parts, rows, 2], over all ranks.
Tensor join_statistics(Context& ctx, const comm::Communicator& tensor, const Tensor& stats);

}  // namespace espalier::model
