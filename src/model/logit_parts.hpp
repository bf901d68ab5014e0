// The logits of a block of tokens, of which few exist at a time: those of one part of this rank's vocabulary
// after another.
#pragma once

#include <functional>
#include <vector>

#include "src/comm/communicator.hpp"
#include "src/core/context.hpp"
#include "src/model/head_blocks.hpp"

namespace espalier::model {

/// A rank's logits, [rows, its vocabulary], part by part. Where they are computed again, every look at a part
/// computes it.
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
    /// For the last time: the memory is the caller's to overwrite.
    Tensor take(Context& ctx, int64_t part);

private:
    Source source_;
    Range vocabulary_;
    HeadBlocks::Storage storage_ = HeadBlocks::Storage::kept;
    std::vector<Tensor> kept_;
};

/// Called with each part's logits.
using ReadPart = std::function<void(int64_t part, const Tensor& logits)>;

/// What a loss reads off logits in one look at each part, over all ranks; collective over the tensor group.
struct LabelReadings {
    Tensor lse;       ///< [rows] f32 = log sum exp(logits)
    Tensor at_label;  ///< [rows] f32 = the label's logit; 0 for labels < 0
};
/// labels [rows] i32. `read` sees each part too.
LabelReadings read_labels(Context& ctx, const comm::Communicator& tensor, LogitParts& logits,
                          const Tensor& labels, const ReadPart& read = {});

/// lse [rows] f32 of each part's statistics (softmax_statistics), [parts, rows, 2], over all ranks.
Tensor join_statistics(Context& ctx, const comm::Communicator& tensor, const Tensor& stats);

}  // namespace espalier::model
