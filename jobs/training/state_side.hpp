// The loss on hidden states in a run: what it compares, and the projection that it trains.
#pragma once

#include "jobs/training/checkpoint.hpp"
#include "jobs/training/teacher_side.hpp"
#include "src/distill/state_loss.hpp"

namespace espalier::jobs {

/// --hidden-map and what goes with it; no pairs where it is not given. Throws UserError.
distill::StateTerms state_terms(const TrainingOptions& o, const distill::LossTerms& loss);

class StateSide {
public:
    /// Collective. `student` is loaded and outlives this, as do the others. Throws UserError where the pairs
    /// are not those of these models.
    StateSide(Session& session, const TrainingOptions& o, distill::StateTerms terms,
              const ModelFile& student_file, const model::Transformer& student, TeacherSide& teacher);

    distill::StateLoss& loss() { return *loss_; }
    /// The projection's, where widths differ.
    std::optional<Trained> trained();
    /// Of a token's three products with the projection, for all pairs.
    double flops_per_token() const;

    /// Bytes at the fullest moment of a step: projection, states that wait, gradients of distances.
    int64_t memory(const train::StepShape& step) const;

    /// token_weight: of a token in the step's mean.
    void begin_step(double token_weight);
    /// Collective. Sums the projection's gradient over all ranks; gives its square norm.
    double synchronise_gradient();
    /// Collective. One update.
    void update(int64_t step, double learning_rate, double gradient_scale);

private:
    /// Every rank holds the projection and sees some tokens of some pairs: all are its replicas.
    struct Learned {
        distill::Projection projection;
        std::optional<train::Optimizer> optimizer;
    };
    void initialise(distill::Projection& projection, const ModelFile& student, const ModelFile& teacher);

    Session& session_;
    const model::Transformer& student_;
    bool teacher_passes_here_;  ///< in the student's pipeline; else somebody brings its states
    std::unique_ptr<Learned> learned_;
    std::unique_ptr<distill::StateLoss> loss_;
};

/// Which channels of the teacher a student's channels were, by the histories of both files: nothing where
/// they do not say.
std::optional<std::vector<int64_t>> kept_channels(const ModelFile& student, const ModelFile& teacher);

}  // namespace espalier::jobs
