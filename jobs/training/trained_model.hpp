// A model in training against the model files that it comes from and becomes.
#pragma once

#include "jobs/files/model_file.hpp"
#include "src/train/optimizer.hpp"

namespace espalier::jobs {

/// Collective. Where the model's own weights are rounded: the optimizer's master = those that `file` has.
/// Throws UserError on every rank where the file is damaged or cannot be read.
void read_master(Session& session, ModelFile& file, const model::Transformer& model,
                 train::Optimizer& optimizer);
/// Collective. Whether all weights are: the loss before an update says nothing of what the update made.
bool are_finite(Session& session, const model::Transformer& model, train::Optimizer& optimizer);
/// Collective. Throws UserError where weights that were just read from `path` are not finite, naming the
/// first tensor.
void expect_finite(Session& session, const std::string& path, const model::Transformer& model,
                   train::Optimizer& optimizer);
/// Collective. A model in training as M.h5, in the dtypes and with the tokenizer of the file it came from.
void write_trained(Session& session, const std::string& path, const ModelFile& from,
                   const model::Transformer& model, train::Optimizer& optimizer,
                   const nlohmann::ordered_json& history);

}  // namespace espalier::jobs
