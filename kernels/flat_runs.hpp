// Runs of elements of flat buffers: what a kernel goes through that takes all weights at once.
#pragma once

#include <vector>

#include "src/core/context.hpp"

namespace espalier {

/// Elements begin .. begin + size of every flat buffer with the same offsets.
struct FlatRun {
    int64_t begin = 0;
    int64_t size = 0;
    float decay = 1;  ///< factor of AdamW's weight decay
};

/// A list of runs, made once: on a device it is a table of chunks there, so that one launch walks them all.
class FlatRuns {
public:
    FlatRuns() = default;
    FlatRuns(Context& ctx, std::vector<FlatRun> runs);

    const std::vector<FlatRun>& runs() const { return runs_; }
    /// The smallest flat buffer that holds them all.
    int64_t end() const { return end_; }
    /// cuda::chunk_table of them; empty on a CPU.
    const Tensor& chunks() const { return chunks_; }

private:
    std::vector<FlatRun> runs_;
    int64_t end_ = 0;
    Tensor chunks_;
};

/// Throws InternalError naming `what` unless x is where the context's kernels run, flat, f32 and holds all
/// runs.
void expect_flat(const Context& ctx, const Tensor& x, const FlatRuns& runs, const char* what);

}  // namespace espalier
