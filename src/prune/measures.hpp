// What the sums of a scoring pass, over all ranks, say of a model.
#pragma once

#include "src/prune/scores.hpp"
#include "src/prune/scoring_pass.hpp"

namespace espalier::prune {

/// [hidden]: the sum over all norms of [norms, hidden].
std::vector<double> sum_over_norms(const std::vector<double>& by_norm, int64_t hidden);

/// Influence and loss as far as they were measured, of layers and of blocks; no accuracy.
DepthTable depth_table(const ScoreSums& sums, const PassOptions& measured);

/// Everything, for one pair of aggregators.
Scores scores_of(const ScoreSums& sums, const PassOptions& measured, const model::Architecture& a,
                 AggregatorPair pair);

}  // namespace espalier::prune
