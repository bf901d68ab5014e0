// A teacher on another grid of the same ranks than the student: its layers are split as suits its own size,
// its hidden states travel to where the student's head is. The teacher's head lives there too, split like the
// student's (model::head_alone), since a loss compares logits of the same tokens and vocabulary. States
// inside it travel to the stages where the student has their counterparts.
#pragma once

#include "src/model/states.hpp"
#include "src/train/pipeline.hpp"
#include "src/train/state_exchange.hpp"

namespace espalier::train {

/// A state of the teacher, and the student's stage that asks for it.
struct StateRoute {
    model::StateName state;
    int stage;
};
std::vector<model::StateName> states_of(const std::vector<StateRoute>& routes);
/// The same from stage to stage, of a teacher with so many stages.
std::vector<StageRoute> stages_of(const std::vector<StateRoute>& routes, const model::Architecture& teacher,
                                  int stages, int virtual_stages);

/// Micro-batches of a step are dealt as StateExchange says; all are of the same size but the last.
class TeacherGrid {
public:
    /// `body` is on `own` grid, without a head; both grids are of all ranks. All outlive this.
    TeacherGrid(const comm::Topology& student, const comm::Topology& own, model::Transformer& body,
                std::vector<StateRoute> routes = {});

    /// Collective. The teacher's forward passes of a step: `mine` are the micro-batches of this rank's
    /// replica of the teacher, in order; the step has tokens_of.size() of them in all, each of so many
    /// tokens.
    void run(Context& ctx, std::span<const MicroBatch> mine, std::span<const int64_t> tokens_of);

    /// StateExchange::step_bytes() of such a step.
    int64_t step_bytes(std::span<const int64_t> tokens_of) const {
        return exchange_.step_bytes(tokens_of, body_.architecture().hidden, body_.dtype());
    }

    /// Student's last stage, once for each micro-batch of its replica, in order: the hidden states [T, H].
    Tensor next_hidden(Context& ctx) { return exchange_.next_gathered(ctx, routes_.size()); }
    /// On a route's stage, likewise: its state of this rank's tokens, [Tl, H].
    Tensor next_state(Context& ctx, size_t route) { return exchange_.next(ctx, route); }

private:
    const comm::Topology& own_;
    model::Transformer& body_;
    std::vector<StateRoute> routes_;
    StateExchange exchange_;  // of the routes, and of the hidden states after them
    model::Outbox between_stages_;
};

/// What a teacher in training shows of its passes: a loss of no weight in its pipeline.
class StateRecorder : public model::StateHooks {
public:
    /// The model is on a grid of all ranks with the exchange's teacher. All outlive this.
    StateRecorder(const model::Transformer& teacher, const std::vector<StateRoute>& routes,
                  StateExchange& exchange)
        : teacher_(teacher), wanted_(states_of(routes)), exchange_(exchange) {}

    /// Before a step of the teacher, whose first micro-batch here is `first`.
    void begin_step(int64_t first) { next_.assign(teacher_.placement().virtual_stages.size(), first); }

    model::Observer& teacher_pass(int virtual_stage) override;
    std::unique_ptr<model::StatePass> student_pass(int virtual_stage, const Tensor& labels) override;
    double weigh(double, int64_t) override { return 0; }

private:
    const model::Transformer& teacher_;
    std::vector<model::StateName> wanted_;
    StateExchange& exchange_;
    std::vector<int64_t> next_;  // of each virtual stage: the micro-batch whose pass comes
};

}  // namespace espalier::train
