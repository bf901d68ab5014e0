// What a rank of a training run holds at the fullest moment of a step, counted from the shapes of what this
// program makes. src/plan/memory.hpp is its counterpart for clusters and programs that are only described.
#pragma once

#include "src/model/placement.hpp"
#include "src/model/transformer.hpp"

namespace espalier::train {

/// How a step's micro-batches go through a rank.
struct StepShape {
    model::PipelineShape pipeline = {};
    int64_t micro_batches = 1;  ///< of this replica
    int64_t sequences = 1;      ///< of a micro-batch
    int64_t seq = 1;            ///< tokens of a sequence
    DType dtype = DType::f32;
    model::Recompute recompute = model::Recompute::selective;
    Device device = Device::cpu;

    int64_t tokens() const { return sequences * seq; }
};

/// Bytes that a layer keeps of a micro-batch for its backward pass: model::SavedLayer under step.recompute.
int64_t saved_bytes(const model::Architecture& a, int64_t layer, model::TensorPart tensor,
                    const StepShape& step);

/// Bytes that are there at once beside it, in the pass through one layer.
int64_t forward_bytes(const model::Architecture& a, int64_t layer, model::TensorPart tensor,
                      const StepShape& step);
int64_t backward_bytes(const model::Architecture& a, int64_t layer, model::TensorPart tensor,
                       const StepShape& step);

/// The most micro-batches that are past a virtual stage of this rank and have not come back.
int64_t most_in_flight(const StepShape& step, int virtual_stage);

/// Bytes of what a stage has on its way to others when it goes on.
int64_t message_bytes(const model::Architecture& a, model::TensorPart tensor, const StepShape& step);

/// Bytes of a stage's activations: what its micro-batches in flight keep when most of them are, one layer's
/// backward pass with what it computes again, and messages on their way.
int64_t activation_bytes(const model::Architecture& a, const model::Placement& placement,
                         const StepShape& step);

/// Bytes of a teacher's passes: one layer's, and the hidden states that wait for the student's, `waiting` of
/// them.
int64_t teacher_pass_bytes(const model::Architecture& a, const model::Placement& placement,
                           const StepShape& step, int64_t waiting);

/// Bytes of the last stage's head: a micro-batch's hidden states and their gradient; a block's logits, of
/// `models` models, and their gradient where it is no f32.
int64_t head_bytes(const model::Architecture& a, model::TensorPart tensor, const StepShape& step, int models);

}  // namespace espalier::train
