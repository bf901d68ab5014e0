// A model file cut: to another file, or into a model in memory.
#pragma once

#include "jobs/files/model_file.hpp"
#include "jobs/session/progress.hpp"
#include "src/prune/kept.hpp"

namespace espalier::jobs {

/// Collective. Writes every weight of the cut model, each rank its own rows of the source, read in order and
/// whole, kept or not: what the file's checksums say is then held against all of it. Memory is bounded by a
/// block of rows. `progress` is called with the weights written so far.
void write_cut(Session& session, ModelFile& source, const prune::Kept& kept,
               const model::Architecture& result, ModelWriter& writer,
               const std::function<void(double done)>& progress);

/// Collective. A transformer of shape `result`, each rank with its part of the kept weights of the source; of
/// the session's compute dtype unless another is given. Checksums are not looked at: not all is read.
std::unique_ptr<model::Transformer> load_cut(Session& session, ModelFile& source, const prune::Kept& kept,
                                             const model::Architecture& result, DType dtype);

/// The dtype of each weight of `result`, as the source stores it.
std::vector<DType> cut_dtypes(const ModelFile& source, const prune::Kept& kept,
                              const model::Architecture& result);

}  // namespace espalier::jobs
