// Choosing what stays in several steps, scoring what is left before each (prune --iterations).
#pragma once

#include "jobs/pruning/cut_file.hpp"
#include "jobs/pruning/scoring.hpp"
#include "src/prune/choose.hpp"

namespace espalier::jobs {

struct IterativeOptions {
    int64_t steps = 1;
    Calibration calibration;
    prune::AggregatorPair pair;
    prune::NeuronSite site = prune::NeuronSite::after_activation;
};

/// Collective. Indices of the source that stay after the last step. The model between steps is in memory
/// only, split over the ranks; `first` are the source's scores where the user has them already, else null.
prune::Kept choose_in_steps(Session& session, ModelFile& source, const prune::Target& target,
                            const prune::Scores* first, const IterativeOptions& options);

}  // namespace espalier::jobs
