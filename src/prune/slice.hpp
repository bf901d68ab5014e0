// Cutting one weight: which indices of each of its axes stay, and the elements that are left.
#pragma once

#include "src/core/tensor.hpp"
#include "src/model/parameters.hpp"
#include "src/prune/choose.hpp"

namespace espalier::prune {

/// For each axis of a weight of the *cut* model, the indices of the source weight that make it up.
std::vector<std::vector<int64_t>> kept_indices(const model::Architecture& source, const Kept& kept,
                                               const model::Parameter& cut);

/// The name of the source weight that a weight of the cut model comes from.
std::string source_name(const Kept& kept, const model::Parameter& cut,
                        const std::vector<model::Parameter>& source);

/// out [indices' sizes] = the elements of x at the kept indices of every axis. Of one dtype, on the host.
void take(const Tensor& x, const std::vector<std::vector<int64_t>>& indices, Tensor& out);

/// Contiguous runs of ascending indices, so that memory is copied in large pieces.
std::vector<Range> runs(const std::vector<int64_t>& ascending);

}  // namespace espalier::prune
