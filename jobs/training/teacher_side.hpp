// The teacher of a run, wherever it comes from: a model on the student's grid, which may learn too, a model
// on a grid of its own, or a cache of what one said.
#pragma once

#include <deque>

#include "jobs/training/checkpoint.hpp"
#include "jobs/training/options.hpp"
#include "jobs/training/teacher_cache_file.hpp"
#include "src/distill/objective.hpp"
#include "src/distill/state_terms.hpp"
#include "src/train/memory.hpp"
#include "src/train/teacher_grid.hpp"

namespace espalier::jobs {

/// Reads the micro-batches of a step that belong to a replica of a grid.
using ReadMicroBatches = std::function<std::vector<train::MicroBatch>(const comm::Topology&)>;

class TeacherSide {
public:
    /// Collective. Nothing where the run has no teacher. Refuses one that cannot teach this student.
    TeacherSide(Session& session, const TrainingOptions& o, const ModelFile& student, int64_t samples,
                const data::DocumentMasks& masks);
    /// Collective. Loads what is to run; a teacher whose states are asked for runs whatever the loss.
    void load(const distill::LossTerms& terms, const distill::StateTerms& states);

    /// Content hash of the teacher's model, by whom its words are; empty where there is none.
    std::string sha256() const;
    /// The teacher's file; nullptr where there is none.
    const ModelFile* file() const { return file_.get(); }
    /// The model that runs in the student's pipeline; nullptr where there is none.
    model::Transformer* in_pipeline() const { return grid_ || correction_ ? nullptr : model_.get(); }
    /// Whether it is corrected.
    bool learns() const { return correction_ != nullptr; }
    /// What of it is in training; for checkpoints.
    std::optional<Trained> trained() const;
    double forward_flops_per_token(int64_t seq_len) const;
    /// Bytes that it holds on this rank at the fullest moment of a step, checkpoints aside.
    int64_t memory(const train::StepShape& step) const;
    /// The run's grids: the student's, and the teacher's where it is another.
    std::vector<const comm::Topology*> grids() const;

    /// Collective. What the teacher does before the student's passes of a step in which `tokens` tokens
    /// count.
    void begin_step(Context& ctx, const ReadMicroBatches& read, double tokens);
    /// Collective. Throws UserError where a cache is of other samples.
    void check_samples(const data::Samples& samples) const {
        if (cache_) cache_->check_samples(session_, samples);
    }
    /// Collective. The norm of its gradient over all replicas, where it is corrected; else 0.
    double gradient_norm(Context& ctx);
    /// Collective. Where it is corrected, its update number `updates` with `share` of its peak learning rate;
    /// `norm` from gradient_norm().
    void update(Context& ctx, int64_t updates, double share, double norm);
    /// The teacher's own cross entropy over this rank's part of the step, where it is corrected.
    const distill::LossSums* sums(Context& ctx) {
        return correction_ ? &correction_->objective.sums(ctx) : nullptr;
    }
    /// Collective. Whether a corrected one's weights are.
    bool is_finite() const;
    /// Collective. RUNDIR/teacher.h5, where it is corrected.
    void write_model(const std::string& path);
    /// For a micro-batch in the student's last stage, in order; hidden: the pipeline's, where it is there.
    distill::Teacher of(Context& ctx, const model::Transformer& student, int64_t first_sample,
                        const Tensor& hidden);
    /// Whether states inside the teacher come from here, not from its passes in the student's pipeline: a
    /// pair's, for this replica's next micro-batch.
    bool brings_states() const { return grid_ || correction_; }
    Tensor next_state(Context& ctx, size_t pair) {
        return grid_ ? grid_->next_state(ctx, pair) : correction_->exchange.next(ctx, pair);
    }

private:
    /// Teacher correction (Sreenivas et al. 2024): it follows the text a little while the student follows it.
    struct Correction {
        Correction(Session& session, const TrainingOptions& o, model::Transformer& teacher,
                   const std::vector<train::StateRoute>& routes);

        distill::Objective objective;
        train::Optimizer optimizer;
        train::GradientReducer reducer;
        train::StateExchange exchange;
        train::StateRecorder recorder;
        train::Pipeline pipeline;
        std::deque<Tensor> hidden;  // last stage: of this step's micro-batches, before the update
    };
    void check(const ModelFile& student) const;
    void check_layout(int tp, int pp, int virtual_stages) const;
    void load_elsewhere(int tp, int pp, const distill::StateTerms& states);
    /// Where the student's stages want which states.
    std::vector<train::StateRoute> routes(const distill::StateTerms& states) const;
    std::vector<int64_t> tokens_of_step() const;  // of each micro-batch

    Session& session_;
    const TrainingOptions& o_;
    const model::Architecture& student_;
    std::unique_ptr<ModelFile> file_;
    std::unique_ptr<TeacherCache> cache_;
    std::unique_ptr<comm::Topology> own_;               // the teacher's grid, where it is another
    std::unique_ptr<model::Transformer> model_, head_;  // the head apart from a body on its own grid
    std::unique_ptr<train::TeacherGrid> grid_;
    std::unique_ptr<Correction> correction_;
};

}  // namespace espalier::jobs
