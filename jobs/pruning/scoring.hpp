// Importance from calibration samples: the pass that importance makes once and an iterative cut several
// times.
#pragma once

#include "jobs/data/documents.hpp"
#include "jobs/session/session.hpp"
#include "src/prune/scoring_pass.hpp"

namespace espalier::jobs {

struct Calibration {
    std::vector<std::string> data;  ///< as --data
    std::string split;              ///< as --split
    int64_t samples = 1024;
    int64_t seq_len = 0;  ///< 0: the model's positions, at most 4096
    int64_t micro_batch = 1;
    DocumentOptions documents;
};

/// What a calibration reads.
struct CalibrationData {
    data::Samples samples;
    data::DocumentMasks masks;
};

/// Throws UserError for numbers that do not fit the model; fills in seq_len.
void check(Calibration& calibration, const ModelFile& model);

struct ScoringOptions {
    prune::PassOptions pass = {};
    prune::NeuronSite site = prune::NeuronSite::after_activation;
    prune::HeadDimSums head_dims = prune::HeadDimSums::none;
    const char* what = "importance";  ///< for the progress bar
};

/// Collective. Sums over all ranks of the first samples in Megatron's order; each replica takes its share.
/// The session's results get the breakdown of the time.
prune::ScoreSums score_samples(Session& session, model::Transformer& model, const CalibrationData& data,
                               const Calibration& calibration, const ScoringOptions& options);

/// For this model, or one cut from it.
CalibrationData open_data(const Session& session, const Calibration& calibration, const ModelFile& model);

}  // namespace espalier::jobs
