// A pipeline's schedule, played through on imagined stages.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace espalier::test {

/// Seconds that a stage takes for a micro-batch, over all of its virtual stages.
struct StageCost {
    double forward;
    double backward;
};

/// Time until all stages are through train::pipeline_schedule when messages take none; nullopt where they
/// wait for each other for ever.
std::optional<double> played_seconds(const std::vector<StageCost>& stages, int virtual_stages,
                                     int64_t micro_batches);

}  // namespace espalier::test
