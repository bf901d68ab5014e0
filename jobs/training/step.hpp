// A step of a training run: the passes of teacher and student, the losses between them, the update, and what
// all ranks learn from each other at its end.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "jobs/session/breakdown.hpp"
#include "jobs/training/checkpoint.hpp"
#include "jobs/training/data.hpp"
#include "jobs/training/run_log.hpp"
#include "jobs/training/state_side.hpp"
#include "jobs/training/teacher_side.hpp"
#include "src/distill/objective.hpp"
#include "src/train/gradient_reducer.hpp"
#include "src/train/pipeline.hpp"

namespace espalier::jobs {

/// Steps whose gradient was not finite, and that changed no weight.
struct SkippedSteps {
    int64_t all = 0;
    int64_t in_a_row = 0;  ///< those that came last
};

class TrainingStep {
public:
    /// Of a run of `steps` steps.
    TrainingStep(Session& session, const TrainingOptions& o, const distill::LossTerms& loss,
                 TeacherSide& teacher, TrainingData& data, int64_t steps);
    /// Collective. Loads student and teacher, and makes what trains them. Throws UserError where weights are
    /// not finite.
    void load(ModelFile& student, const distill::StateTerms& states);

    model::Transformer& student() { return *student_; }
    train::Optimizer& optimizer() { return *optimizer_; }
    const StateSide* states() const { return states_.get(); }
    const distill::LossTerms& loss() const { return objective_.terms(); }
    /// All weights in training: the student's, a corrected teacher's, a projection's.
    std::vector<Trained> trained();
    /// Model FLOPs: of the teacher's forward pass, of all passes of the student and of a projection.
    double flops_per_token() const;

    struct Done {
        StepReport report;
        bool stop;                ///< some rank was asked to
        bool checkpoint_written;  ///< by all ranks, and Checkpoints::advance() is due
        bool diverged;            ///< so many steps in a row were skipped that the run has no hope
    };
    /// Collective. Step 1, 2, ..: every rank's `stop_wanted` is asked after the update.
    Done run(int64_t step, Checkpoints& checkpoints, Breakdown& breakdown,
             const std::function<bool()>& stop_wanted);
    /// Collective. Ends what the teacher did ahead of a step that does not come.
    void finish() { pipeline_->finish(ctx_); }

    SkippedSteps skipped;

private:
    struct Update {
        double learning_rate, gradient_norm;
    };
    struct Shared {
        distill::LossSums sums;
        double teacher_label, hidden_distance, hidden_loss;
        bool stop, checkpoint_written;
        std::optional<int64_t> memory_bytes;
    };
    Tensor head_backward(const train::MicroBatch& batch, const Tensor& hidden, const Tensor& teacher_hidden,
                         double token_weight);
    void passes(int64_t step, std::span<const train::MicroBatch> now, Breakdown& breakdown);
    Update update(int64_t step, Checkpoints& checkpoints, Breakdown& breakdown);
    void skip(int64_t step, std::string_view whose_gradient);
    Shared share(int64_t step, bool stop_wanted, Checkpoints& checkpoints);
    StepReport report(int64_t step, const Update& update, const Shared& shared, double seconds) const;

    Session& session_;
    Context& ctx_;
    const comm::Topology& topology_;
    const TrainingOptions& o_;
    TeacherSide& teacher_;
    TrainingData& data_;
    int64_t steps_;
    distill::Objective objective_;
    std::unique_ptr<model::Transformer> student_;
    std::unique_ptr<StateSide> states_;
    std::unique_ptr<train::Optimizer> optimizer_;
    std::unique_ptr<train::GradientReducer> reducer_;
    std::unique_ptr<train::Pipeline> pipeline_;
};

}  // namespace espalier::jobs
