// A pipeline's schedule, played through on imagined stages.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace espalier::test {

/// Seconds that a stage takes for a micro-batch, over all of its virtual stages.
struct StageCost {
    double forward;
    double backward;
};

/// Time until all stages are through train::pipeline_schedule when messages take none; nullopt where they
/// wait for each other for ever. A message has been taken when its receiver has come to the task that needs
/// it; a stage with more than `most_messages` that have not waits for the oldest before it comes to its next
/// task.
std::optional<double> played_seconds(const std::vector<StageCost>& stages, int virtual_stages,
                                     int64_t micro_batches,
                                     int64_t most_messages = std::numeric_limits<int64_t>::max());

}  // namespace espalier::test
