// The whole model, computing what a cut of it computes: what goes is silenced instead of taken out.
#pragma once

#include "src/model/transformer.hpp"
#include "src/prune/kept.hpp"

namespace espalier::prune {

/// The architecture that a masked model runs as: the source's, but that a head is apart from the embedding,
/// and the norms' epsilon counts the kept channels alone, or the kept dims of a head.
model::Architecture masked_architecture(const model::Architecture& source, const Kept& kept);

/// Changes the weights of a model of masked_architecture, f32 and on the host, which are the source's (`head`
/// is the embedding's copy where the source is tied): neurons, heads, dims and layers that go hand on zero,
/// and channels that go are zero in the residual stream. A norm over the whole width is made one over the
/// kept channels: what is written to the stream is centred over them where the norm takes the mean off, and
/// the norm's gain is scaled by sqrt(kept / all); norms of heads likewise, over the dims that stay. Logits
/// equal the cut model's but for rounding; those of dropped ids mean nothing. Residual heads are the caller's
/// (slices of combined_heads_only have them).
void mask(model::Transformer& model, const model::Architecture& source, const Kept& kept);

/// keep_all, with the residual heads of `kept`: what a masked model's weights are read by.
Kept combined_heads_only(const model::Architecture& source, const Kept& kept);

}  // namespace espalier::prune
