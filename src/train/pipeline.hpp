// One step's micro-batches through the pipeline, in the order of pipeline_schedule.hpp, with a teacher's
// forward passes where a stage would wait.
#pragma once

#include <deque>
#include <functional>
#include <span>

#include "src/comm/topology.hpp"
#include "src/model/stage.hpp"
#include "src/model/states.hpp"
#include "src/model/transformer.hpp"
#include "src/train/pipeline_schedule.hpp"

namespace espalier::train {

struct MicroBatch {
    model::TokenBatch tokens;
    Tensor labels;             ///< [tokens] i32, on the model's device; < 0: the token is no part of a loss
    int64_t first_sample = 0;  ///< in the run's order
    int64_t scored = 0;        ///< labels that are not < 0; who does not weigh losses by it may leave it
};

/// On the last stage: from the hidden states of student and teacher [T, H] of micro-batch `index` of the step
/// (the teacher's empty where the pipeline has none), adds to the head's gradient and gives d_hidden [T, H],
/// this rank's part of the sum over tensor parallel ranks.
using LossFunction =
    std::function<Tensor(const MicroBatch&, int64_t index, const Tensor& student, const Tensor& teacher)>;

/// Messages whose memory a stage may hold at a time.
constexpr int64_t most_messages = 6;

/// Micro-batches whose forward pass a teacher may have done before the student's: enough to fill the waits at
/// a step's end and at the next one's beginning; the last stage keeps a hidden state for each.
constexpr int64_t most_taught_ahead(int stages) {
    return 3 * (stages - 1) + 1;
}

struct PipelineOptions {
    model::Recompute recompute = model::Recompute::selective;
    /// A teacher that does not change between steps may work on the next one's micro-batches.
    bool teacher_ahead = true;
};

/// Lives as long as the run: a teacher's forward passes cross the border between steps. Which stage finds
/// time for which of them may differ from run to run; results do not. On a device, where stages do not know
/// when they would wait, each does the teacher's pass of a micro-batch just before the student's.
class Pipeline {
public:
    /// The teacher, when there is one, lives on the same grid with as many virtual stages, and runs forward
    /// only. `states`, where given, is a loss on states on the way: it sees both models' passes. All outlive
    /// this.
    Pipeline(const comm::Topology& topology, model::Transformer& model, model::Transformer* teacher,
             PipelineOptions options = {}, model::StateHooks* states = nullptr);

    /// model.gradients() += the gradient of this replica's micro-batches of a step. `next`: those of the step
    /// that follows, empty in a last step; they stay where they are until that step.
    void step(Context& ctx, std::span<const MicroBatch> now, std::span<const MicroBatch> next,
              const LossFunction& loss);

    /// Collective over the pipeline. Ends what the teacher has begun of a step that will not come.
    void finish(Context& ctx);

private:
    struct InFlight {
        model::SavedStage saved;
        Tensor d_hidden;
        std::unique_ptr<model::StatePass> states;
        double weight = 0;  // of their gradient; last stage
    };
    void forward(Context& ctx, const MicroBatch& batch, int64_t index, int virtual_stage,
                 const LossFunction& loss);
    void backward(Context& ctx, const MicroBatch& batch, int virtual_stage);
    /// The teacher's next pass, after its input has come.
    void teach(Context& ctx);
    bool may_teach() const;
    /// Starts to receive the input of the teacher's next pass, where it comes from another stage.
    void expect_teacher_input(Context& ctx);
    /// Waits, and teaches meanwhile where there is something to teach.
    void wait(Context& ctx, comm::Request& message);

    /// A number that goes with an activation to another stage, and its counterpart.
    void send_number(Context& ctx, double value, int to, int tag);
    double receive_number(Context& ctx, int from, int tag) const;

    const MicroBatch& teacher_batch() const;
    Tensor like_input(Context& ctx, const model::Transformer& m, const MicroBatch& batch) const;  // [Tl, H]
    int stage_before() const { return (shape_.stage + shape_.stages - 1) % shape_.stages; }
    int stage_after() const { return (shape_.stage + 1) % shape_.stages; }
    bool is_first(int virtual_stage) const { return topology_.first_stage() && virtual_stage == 0; }
    bool is_last(int virtual_stage) const {
        return topology_.last_stage() && virtual_stage == shape_.virtual_stages - 1;
    }

    const comm::Topology& topology_;
    model::Transformer& model_;
    model::Transformer* teacher_;
    PipelineOptions options_;
    model::StateHooks* states_;
    PipelineShape shape_;
    std::vector<std::deque<InFlight>> in_flight_;  // of each virtual stage
    model::Outbox outbox_, numbers_;

    std::span<const MicroBatch> now_, next_;
    std::vector<Pass> teacher_passes_;   // of a step; the next one's are the same
    size_t taught_ = 0, forwarded_ = 0;  // passes done, counted from the start of this step
    Tensor teacher_input_;
    comm::Request teacher_message_;
    std::deque<Tensor> teacher_hidden_;  // last stage: not yet used
    model::Outbox teacher_outbox_;
};

}  // namespace espalier::train
