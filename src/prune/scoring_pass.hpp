// One micro-batch of calibration text through all stages: activations, block influence, and the loss without
// layers.
#pragma once

#include <functional>

#include "src/model/stage.hpp"
#include "src/prune/scorer.hpp"

namespace espalier::prune {

/// Leaving out layers costs about depth / 2 forward passes per kind: what comes before the missing layers is
/// shared.
struct PassOptions {
    bool influence = true;             ///< cos between a layer's input and output (Men et al. 2024)
    int64_t block = 0;                 ///< > 0: the same for contiguous blocks of this many layers
    bool loss_without = false;         ///< the loss with each layer left out
    bool loss_without_blocks = false;  ///< the loss with each contiguous block of `block` layers left out
};

/// Collective over one replica. Adds to the scorer's sums what this rank saw; a part of that only with the
/// next pass, or with scorer.collect(ctx) after the last. labels [T] i32.
void scoring_pass(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                  const model::TokenBatch& tokens, const Tensor& labels, const PassOptions& options,
                  Scorer& scorer, model::Outbox& outbox);

/// Called on the last stage with the final hidden states [T, H] of a variant of the model.
using EmitVariant = std::function<void(int64_t variant, const Tensor& hidden)>;

/// Collective over one replica: the model without layers [v, v + width) as variant v, for every v from 0 to
/// depth - width, and before them the whole model as variant depth - width + 1.
void pass_without(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                  const model::TokenBatch& tokens, int64_t width, model::Outbox& outbox,
                  const EmitVariant& emit);

}  // namespace espalier::prune
