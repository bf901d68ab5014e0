// I.h5: importance of every unit for all nine pairs of aggregators.
#pragma once

#include <optional>

#include "jobs/files/model_file.hpp"
#include "jobs/pruning/depth_task.hpp"
#include "src/prune/scorer.hpp"
#include "src/prune/scores.hpp"
#include "src/prune/scoring_pass.hpp"

namespace espalier::jobs {

constexpr const char* scores_format = "espalier-importance";

struct ScoresHeader {
    int64_t seq_len = 0;
    std::string model_sha256;
    prune::NeuronSite site = prune::NeuronSite::after_activation;
    prune::PassOptions measured;
    std::optional<DepthAccuracy> accuracy;
};

/// Collective. sums are over all ranks.
void write_scores(Session& session, const std::string& path, const model::Architecture& a,
                  const prune::ScoreSums& sums, const ScoresHeader& header);

struct StoredScores {
    prune::Scores scores;
    prune::NeuronSite site;
    std::string sha256;  ///< of the file's content
};
/// Collective; scores for one pair. Throws UserError when the file is of another model.
StoredScores read_scores(Session& session, const std::string& path, const ModelFile& model,
                         prune::AggregatorPair pair);

}  // namespace espalier::jobs
