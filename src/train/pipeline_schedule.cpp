#include "src/train/pipeline_schedule.hpp"

#include <algorithm>

#include "src/core/exact.hpp"

namespace espalier::train {

using model::PipelineShape;

namespace {

/// Micro-batches go round the ranks in groups of at least as many as there are stages, so that nobody waits
/// for the first to come round: all of a group through one virtual stage, then through the next.
int64_t groups(const PipelineShape& shape, int64_t micro_batches) {
    return shape.virtual_stages == 1 ? 1 : std::max<int64_t>(1, micro_batches / shape.stages);
}

std::vector<Pass> passes(const PipelineShape& shape, int64_t micro_batches, Work work) {
    std::vector<Pass> out;
    const int64_t count = groups(shape, micro_batches);
    for (int64_t g = 0; g < count; ++g) {
        const Range group = split_evenly(micro_batches, count, g);
        for (int c = 0; c < shape.virtual_stages; ++c) {
            const int virtual_stage = work == Work::forward ? c : shape.virtual_stages - 1 - c;
            for (int64_t m = group.begin; m < group.end; ++m) out.push_back({m, virtual_stage});
        }
    }
    return out;
}

/// Forward passes before the first backward one.
size_t warm_up(const PipelineShape& shape, int64_t micro_batches) {
    const int64_t after = shape.stages - 1 - shape.stage, total = micro_batches * shape.virtual_stages;
    if (shape.virtual_stages == 1) return static_cast<size_t>(std::min(total, after));
    const int64_t group = split_evenly(micro_batches, groups(shape, micro_batches), 0).size();
    return static_cast<size_t>(std::min(total, 2 * after + (shape.virtual_stages - 1) * group));
}

}  // namespace

std::vector<Pass> forward_passes(const PipelineShape& shape, int64_t micro_batches) {
    return passes(shape, micro_batches, Work::forward);
}

std::vector<Task> pipeline_schedule(const PipelineShape& shape, int64_t micro_batches) {
    const auto forward = passes(shape, micro_batches, Work::forward),
               backward = passes(shape, micro_batches, Work::backward);
    const size_t total = forward.size(), warm = warm_up(shape, micro_batches);
    std::vector<Task> out;
    for (size_t i = 0; i < total; ++i) {
        out.push_back({Work::forward, forward[i]});
        if (i >= warm) out.push_back({Work::backward, backward[i - warm]});
    }
    for (size_t i = total - warm; i < total; ++i) out.push_back({Work::backward, backward[i]});
    return out;
}

}  // namespace espalier::train
