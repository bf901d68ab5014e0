// Which dims of the heads stay.
#pragma once

#include "src/prune/kept.hpp"
#include "src/prune/scores.hpp"

namespace espalier::prune {

/// Fills kept.head_dims and kept.rotary for heads of `head_dim` dims; kept has its layers and heads already.
///
/// Values: in each KV group the dims whose outputs, summed over its query heads, score best. Queries and
/// keys: a dim's score is that of the group's queries times that of its key, since what it adds to attention
/// is at most their product. Dims that are turned stay in pairs; which pairs is one choice for the whole
/// network, since all heads share their frequencies, and one among evenly spaced pairs, so that the
/// frequencies that stay are those of a rotary table again (docs/adr/0011-head-dims.md). The other dims are
/// chosen in each group by themselves.
///
/// Throws UserError when the scores were not measured, or rotary_dim / head_dim of the source cannot be kept.
void choose_head_dims(const model::Architecture& a, const HeadDimScores& scores, int64_t head_dim,
                      const std::string& source, Kept& kept);

}  // namespace espalier::prune
