// In which order one stage of a pipeline does its forward and backward passes, so that no stage waits longer
// than it must and none holds more activations than it must: one forward, one backward (Narayanan et al.
// 2019), interleaved over virtual stages (Narayanan et al. 2021).
#pragma once

#include <cstdint>
#include <vector>

#include "src/model/placement.hpp"

namespace espalier::train {

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
std::vector<Pass> forward_passes(const model::PipelineShape& shape, int64_t micro_batches);

/// The tasks of one stage in one step. Tasks of one kind come in the same order on all stages, so messages
/// between two stages need no labels.
std::vector<Task> pipeline_schedule(const model::PipelineShape& shape, int64_t micro_batches);

/// Messages that a stage may have on their way, and hold the memory of, when it begins its next task. What
/// the last stage sends round to the first is taken up to a group of micro-batches later: two stages that
/// wait for each other to take a message would wait for ever with a bound of `stages` (played through in
/// tests).
constexpr int64_t most_messages(int stages) {
    return stages > 5 ? stages + 1 : 6;
}

}  // namespace espalier::train
