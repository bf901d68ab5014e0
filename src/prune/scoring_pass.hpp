// One micro-batch of calibration text through all stages: activations, block influence, and the loss without
// each layer.
#pragma once

#include "src/model/stage.hpp"
#include "src/prune/scorer.hpp"

namespace espalier::prune {

struct PassOptions {
    bool influence = true;      ///< cos between a layer's input and output (Men et al. 2024)
    int64_t block = 0;          ///< > 0: the same for contiguous blocks of this many layers
    bool loss_without = false;  ///< the loss with each layer left out; costs about layers / 2 forward passes,
                                ///< since what comes before the missing layer is shared
};

/// Collective over one replica. Adds to `sums` what this rank saw. labels [T] i32.
void scoring_pass(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                  const model::TokenBatch& tokens, const Tensor& labels, const PassOptions& options,
                  Scorer& scorer, ScoreSums& sums, model::Outbox& outbox);

}  // namespace espalier::prune
