// Checkpoints of a training run: RUNDIR/checkpoints/step-N.h5, and RUNDIR/latest, which names the newest
// whole one.
#pragma once

#include <optional>

#include "jobs/model_file.hpp"
#include "src/train/optimizer.hpp"

namespace espalier::jobs {

constexpr const char* checkpoint_format = "espalier-checkpoint";

/// Collective. The f32 master weights and both moments in global shape, so that any layout can read them, and
/// the step; then `latest`; then all but the newest `keep` checkpoints go.
void write_checkpoint(Session& session, const std::string& rundir, int64_t step,
                      const model::Transformer& model, train::Optimizer& optimizer,
                      const nlohmann::ordered_json& configuration, int64_t keep);

/// Collective. The newest checkpoint of the run that is whole, if there is one: its weights and moments go to
/// model and optimizer, its step is returned. A damaged one is named on standard error and the next older one
/// is taken. Throws UserError when the checkpoint's configuration is another.
std::optional<int64_t> read_checkpoint(Session& session, const std::string& rundir, model::Transformer& model,
                                       train::Optimizer& optimizer,
                                       const nlohmann::ordered_json& configuration);

/// What a killed run left half written. Called by one rank before the first checkpoint.
void remove_unfinished_checkpoints(const std::string& rundir);

}  // namespace espalier::jobs
