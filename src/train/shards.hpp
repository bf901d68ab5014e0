// Which replica keeps the optimizer's state of which weights (ZeRO stage 1, Rajbhandari et al. 2020):
// replicas hold the same weights, so each updates a share of them and all gather the result.
#pragma once

#include "kernels/flat_runs.hpp"
#include "src/comm/communicator.hpp"
#include "src/model/parameter_set.hpp"

namespace espalier::train {

/// Shares of the flat buffers, about equal; a border never cuts a row of a weight, so that a share of a
/// weight is a box of it, as files want it.
struct Shards {
    std::vector<int64_t> bounds;  ///< replica r has elements bounds[r] .. bounds[r + 1]
    int rank = 0;

    Range mine() const { return {bounds[rank], bounds[static_cast<size_t>(rank) + 1]}; }
    /// The bounds of a run of elements alone, counted from where it begins.
    std::vector<int64_t> bounds_in(Range elements) const;
};
Shards make_shards(const model::ParameterSet& set, const comm::Communicator& replicas);

/// The weights of this replica's share, as runs of flat buffers that begin where the share does; with the
/// weight decay that they have.
FlatRuns runs_of_share(Context& ctx, const model::ParameterSet& set, const Shards& shards);
/// Of the whole flat buffers, what of this share counts in a sum over all ranks that takes each weight once.
FlatRuns runs_owned(Context& ctx, const model::ParameterSet& set, const Shards& shards);

}  // namespace espalier::train
