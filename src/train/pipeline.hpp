// One step's micro-batches through the pipeline, in the order of pipeline_schedule.hpp, with a teacher's
// forward passes where a stage would wait.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <span>

#include "src/comm/topology.hpp"
#include "src/model/stage.hpp"
#include "src/model/states.hpp"
#include "src/model/transformer.hpp"
#include "src/train/gradient_reducer.hpp"
#include "src/train/micro_batch.hpp"
#include "src/train/pipeline_schedule.hpp"
#include "src/train/teacher_passes.hpp"

namespace espalier::train {

/// On the last stage: from a micro-batch's hidden states of student and teacher [T, H] (the teacher's empty
/// where the pipeline has none), adds to the head's gradient and gives d_hidden [T, H], this rank's part of
/// the sum over tensor parallel ranks.
using LossFunction = std::function<Tensor(const MicroBatch&, const Tensor& student, const Tensor& teacher)>;

/// Lives as long as the run: a teacher's forward passes cross the border between steps. Which stage finds
/// time for which of them may differ from run to run; results do not. On a device, where stages do not know
/// when they would wait, each does the teacher's pass of a micro-batch just before the student's.
class Pipeline {
public:
    /// The teacher, when there is one, lives on the same grid with as many virtual stages, runs forward only
    /// and does not change. `states`, where given, is a loss on states on the way: it sees both models'
    /// passes. All outlive this.
    Pipeline(const comm::Topology& topology, model::Transformer& model, model::Transformer* teacher,
             model::Recompute recompute = model::Recompute::selective, model::StateHooks* states = nullptr);

    /// model.gradients() += the gradient of this replica's micro-batches of a step. `next`: those of the step
    /// that follows, empty in a last step; they stay where they are until that step. Of each part whose
    /// gradient the last micro-batch has completed, `reducer` begins the sum.
    void step(Context& ctx, std::span<const MicroBatch> now, std::span<const MicroBatch> next,
              const LossFunction& loss, GradientReducer* reducer = nullptr);

    /// Collective over the pipeline. Ends what the teacher has begun of a step that will not come.
    void finish(Context& ctx);

private:
    struct InFlight {
        model::SavedStage saved;
        Tensor d_hidden;
        std::unique_ptr<model::StatePass> states;
        double weight = 0;  // of their gradient; last stage
    };
    void forward(Context& ctx, const MicroBatch& batch, int virtual_stage, const LossFunction& loss);
    void backward(Context& ctx, const MicroBatch& batch, int virtual_stage, GradientReducer* reducer);
    /// Waits; a teacher works meanwhile.
    void wait(Context& ctx, comm::Request& message);

    /// A number that goes with an activation to another stage, through host memory, and its counterpart.
    void send_number(Context& ctx, double value, int to, int tag);
    double receive_number(Context& ctx, int from, int tag) const;

    const comm::Topology& topology_;
    model::Transformer& model_;
    model::Recompute recompute_;
    model::StateHooks* states_;
    model::PipelineShape shape_;
    std::optional<TeacherPasses> teacher_;
    std::vector<std::deque<InFlight>> in_flight_;  // of each virtual stage
    model::Outbox outbox_, numbers_;
};

}  // namespace espalier::train
