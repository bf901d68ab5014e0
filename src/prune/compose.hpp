// Cuts one after the other as one cut of the source.
#pragma once

#include "src/prune/choose.hpp"

namespace espalier::prune {

/// What of the source stays when `next` is kept of what `first` kept: widths and layers, not head dims nor
/// residuals.
Kept compose(const Kept& first, const Kept& next);

/// The target of step i of `steps`, i = 1 .. steps: d_s - i (d_s - d_t) / steps on every axis, to the nearest
/// unit, where a layer's query heads go down by so many in each KV group (Muralidharan et al. 2024, section
/// 2.2). The last step's is the target itself.
Target step_target(const model::Architecture& source, const Target& target, int64_t step, int64_t steps);

}  // namespace espalier::prune
