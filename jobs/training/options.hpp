// What a training is asked for: the options that distill and train have in common, and what follows from
// them.
#pragma once

#include "jobs/data/documents.hpp"
#include "src/distill/loss_terms.hpp"
#include "src/distill/state_terms.hpp"
#include "src/train/optimizer.hpp"
#include "src/train/schedule.hpp"

namespace espalier::jobs {

struct TrainingOptions {
    std::string teacher, teacher_cache, student, out, valid, split,
        loss = "kl", resume = "auto", recompute = "selective", decay = "cosine", annealing = "exponential";
    std::vector<std::string> data;
    int64_t tokens = 0, seq_len = 0, global_batch = 0, micro_batch = 1;
    double lr = 1e-4, min_lr = 1e-5, weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8,
           clip_grad = 1.0, temperature = 1.0;
    int64_t warmup_steps = 0, annealing_steps = 0, checkpoint_every = 0, keep = 2, valid_every = 0,
            log_every = 1;
    double exit_after_minutes = 0;
    int64_t exit_after_steps = 0, top_k = 0;
    int teacher_tp = 0, teacher_pp = 0;  ///< 0: as the student
    std::string hidden_map, hidden_loss = "cosine", hidden_weight = "auto";
    bool correct_teacher = false;
    double teacher_lr = 0;  ///< 0: a fifth of lr
    DocumentOptions documents;
};

/// The options that both jobs have.
void declare_training(Options& options, TrainingOptions& o);

/// Throws UserError for what cannot be.
void check(const TrainingOptions& o);

/// Throws UserError where an option is a divergence's and the loss has none.
void check_divergence(const TrainingOptions& o, const distill::LossTerms& loss);

/// Throws UserError where no part of the loss has a weight.
void check_weights(const TrainingOptions& o, const distill::LossTerms& loss,
                   const distill::StateTerms& states);

train::OptimizerOptions optimizer_options(const TrainingOptions& o);
/// Of a run of so many steps.
train::Schedule schedule(const TrainingOptions& o, int64_t steps);

/// Options that a resumed run must share with the one it goes on from: everything but layout, limits and
/// places. `data`: data_identity() of its samples.
nlohmann::ordered_json configuration(const Session& session, const ModelFile& student,
                                     const std::string& teacher_sha256, const data::DocumentMasks& masks,
                                     const std::string& data);

}  // namespace espalier::jobs
