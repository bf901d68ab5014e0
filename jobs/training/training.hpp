// distill and train: the same run, with or without a teacher.
#pragma once

#include "jobs/session/session.hpp"
#include "jobs/training/options.hpp"

namespace espalier::jobs {

/// Runs to the end or to a stop; returns the exit code.
int run_training(Session& session, const TrainingOptions& o);

}  // namespace espalier::jobs
