// All layouts of a step on so many GPUs, the fastest first.
#pragma once

#include <vector>

#include "src/plan/step.hpp"

namespace espalier::plan {

/// What the user has fixed; everything else is tried.
struct Choice {
    std::optional<int64_t> tp, pp, virtual_stages, micro_batch;
    std::optional<model::Recompute> recompute;
};

struct Plan {
    std::vector<Prediction> layouts;  ///< those that fit, by seconds, then bytes
    int64_t tried = 0;                ///< legal ones
    /// The layout that misses the memory by least, where none fits.
    std::optional<Prediction> nearest_miss;
};

/// Layouts with tp pp dp = gpus that have no objection(); of the micro-batch sizes that give a replica as
/// many micro-batches the smallest. Recompute none is no other layout than selective where that computes
/// only attention again, and attention is fused. Throws UserError with the reason and the way out when there
/// is no legal one.
Plan enumerate(const System& system, const Step& step, int64_t gpus, const Choice& choice);

}  // namespace espalier::plan
