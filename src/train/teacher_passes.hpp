// A teacher's forward passes beside a student's: on the same grid, done where the student's stages would
// wait.
#pragma once

#include <deque>
#include <span>

#include "src/comm/topology.hpp"
#include "src/model/stage.hpp"
#include "src/model/states.hpp"
#include "src/model/transformer.hpp"
#include "src/train/micro_batch.hpp"
#include "src/train/pipeline_schedule.hpp"

namespace espalier::train {

/// All stages do the passes in the order of forward_passes(), so that messages between them need no labels;
/// when each is done is the stage's own choice, between `model::most_taught_ahead` before the student's pass
/// and just before it. Passes are counted from the start of the step at hand; those beyond it are the next
/// step's.
class TeacherPasses {
public:
    /// `states`, where given, sees the passes. All but `shape` outlive this.
    TeacherPasses(const comm::Topology& topology, const model::PipelineShape& shape,
                  model::Transformer& teacher, model::StateHooks* states);

    /// `now` and `next` stay where they are until the end of their step; `next` is empty in a last step.
    void begin_step(std::span<const MicroBatch> now, std::span<const MicroBatch> next);
    void end_step();

    /// Just before the student's next forward pass: the teacher's of the same micro-batch and virtual stage
    /// is done.
    void keep_ahead(Context& ctx);
    /// Waits for `message`, and teaches meanwhile where there is something to teach. Collective over the
    /// tensor parallel group.
    void wait(Context& ctx, comm::Request& message);
    /// Last stage: the teacher's hidden states [T, H] of the student's next micro-batch.
    Tensor take_hidden();
    /// Bounds the messages that are on their way.
    void drain(const Context& ctx);
    /// Collective over the pipeline. Ends what has begun of a step that will not come.
    void finish(Context& ctx);

private:
    bool may_teach() const;
    void teach(Context& ctx);
    /// Starts to receive the input of the next pass, where it comes from another stage.
    void expect_input(Context& ctx);
    /// Whether all micro-batches that begin before a pass are through all virtual stages by then.
    bool begins_group(size_t pass) const;
    const Pass& next_pass() const { return passes_[taught_ % passes_.size()]; }
    const MicroBatch& next_batch() const;

    const comm::Topology& topology_;
    model::PipelineShape shape_;
    model::Transformer& teacher_;
    model::StateHooks* states_;

    std::span<const MicroBatch> now_, next_;
    std::vector<Pass> passes_;           // of a step; the next one's are the same
    size_t taught_ = 0, asked_for_ = 0;  // passes done, and of those that the student has begun
    Tensor input_;                       // of the next pass, while it is awaited
    comm::Request message_;              // that brings it
    std::deque<Tensor> hidden_;          // last stage: not yet taken
    model::Outbox outbox_;
};

}  // namespace espalier::train
