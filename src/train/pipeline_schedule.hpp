// In which order one stage of a pipeline does its forward and backward passes, so that no stage waits longer
// than it must and none holds more activations than it must: one forward, one backward (Narayanan et al.
// 2019), interleaved over virtual stages (Narayanan et al. 2021).
#pragma once

#include <cstdint>
#include <vector>

namespace espalier::train {

struct PipelineShape {
    int stages = 1;
    int stage = 0;
    int virtual_stages = 1;

    /// Where activations come from and go to: a ring, since virtual stages begin again at the first stage.
    int stage_before() const { return (stage + stages - 1) % stages; }
    int stage_after() const { return (stage + 1) % stages; }
    /// Of the whole model's layers.
    bool is_first(int virtual_stage) const { return stage == 0 && virtual_stage == 0; }
    bool is_last(int virtual_stage) const {
        return stage == stages - 1 && virtual_stage == virtual_stages - 1;
    }
};

/// One micro-batch through one virtual stage.
struct Pass {
    int64_t micro_batch;
    int virtual_stage;
    bool operator==(const Pass&) const = default;
};

enum class Work { forward, backward };
struct Task {
    Work work;
    Pass pass;
};

/// All forward passes of a step in the order in which every stage does them.
std::vector<Pass> forward_passes(const PipelineShape& shape, int64_t micro_batches);

/// The tasks of one stage in one step. Tasks of one kind come in the same order on all stages, so messages
/// between two stages need no labels.
std::vector<Task> pipeline_schedule(const PipelineShape& shape, int64_t micro_batches);

}  // namespace espalier::train
