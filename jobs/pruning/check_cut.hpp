// Whether a cut model computes what the whole one does with the rest silenced.
#pragma once

#include "jobs/pruning/cut_file.hpp"

namespace espalier::jobs {

struct CutCheck {
    double max_error = 0;    ///< largest difference of two logits, over the root mean square of all
    double tolerance = 0;    ///< that max_error was held against
    double loss = 0;         ///< of the cut model over the kept vocabulary
    double masked_loss = 0;  ///< of the masked one
    bool passed() const { return max_error <= tolerance; }
};

/// Collective. Runs both, one after the other and in f32, over the first tokens of the token files `prefix`
/// (in the source's ids; those that are gone give way to others). `cut` must have the shape that `kept`
/// leaves. tolerance 0: 1e-3, or 5e-2 where weights were combined and rounded to bf16.
CutCheck check_cut(Session& session, ModelFile& source, const prune::Kept& kept, ModelFile& cut,
                   const std::string& prefix, double tolerance);

}  // namespace espalier::jobs
