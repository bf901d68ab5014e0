// I.h5: importance of every unit for all nine pairs of aggregators.
#pragma once

#include <optional>

#include "jobs/depth_task.hpp"
#include "src/prune/scores.hpp"
#include "src/prune/scoring_pass.hpp"

namespace espalier::jobs {

constexpr const char* scores_format = "espalier-importance";

struct ScoresHeader {
    int64_t seq_len = 0;
    std::string model_sha256;
    prune::PassOptions measured;
    std::optional<DepthAccuracy> accuracy;
};

/// Collective. sums are over all ranks.
void write_scores(Session& session, const std::string& path, const model::Architecture& a,
                  const prune::ScoreSums& sums, const ScoresHeader& header);

/// Collective; scores for one pair. `sha256` becomes the file's content hash. Throws UserError when the file
/// is of another model than `model_sha256`.
prune::Scores read_scores(Session& session, const std::string& path, const model::Architecture& a,
                          prune::AggregatorPair pair, const std::string& model_sha256,
                          const std::string& model_path, std::string& sha256);

}  // namespace espalier::jobs
