// Runs of elements of flat buffers: what a kernel goes through that takes all weights at once.
#pragma once

#include <vector>

#include "src/core/context.hpp"

namespace espalier {

/// Elements begin .. begin + size of every flat buffer with the same offsets.
struct FlatRun {
    int64_t begin = 0;
    int64_t size = 0;
    float weight_decay_factor = 1;  ///< of these weights, where an update decays them
};

/// A list of runs, made once; where kernels run on a device it is there, too.
class FlatRuns {
public:
    FlatRuns() = default;
    FlatRuns(Context& ctx, std::vector<FlatRun> runs);

    const std::vector<FlatRun>& runs() const { return runs_; }
    /// The smallest flat buffer that holds them all.
    int64_t end() const { return end_; }
    /// The list as the device's kernels read it; empty on a CPU.
    const Tensor& on_device() const { return on_device_; }

private:
    std::vector<FlatRun> runs_;
    int64_t end_ = 0;
    Tensor on_device_;
};

/// Throws InternalError naming `what` unless x is where the context's kernels run, flat, f32 and holds all
/// runs.
void expect_flat(const Context& ctx, const Tensor& x, const FlatRuns& runs, const char* what);

}  // namespace espalier
