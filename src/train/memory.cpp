#include "src/train/memory.hpp"

#include <algorithm>

#include "src/model/activation_bytes.hpp"
#include "src/train/pipeline.hpp"

namespace espalier::train {
namespace {

using model::Architecture;
using model::Recompute;
using model::TensorPart;

model::TokenCounts tokens_of(const StepShape& step, TensorPart tensor) {
    return {step.tokens(), split_evenly(step.tokens(), tensor.size, tensor.rank).size()};
}

model::ActivationBytes layer_bytes(const Architecture& a, int64_t layer, TensorPart tensor,
                                   const StepShape& step) {
    return model::activation_bytes(a, layer, tensor, tokens_of(step, tensor), step.dtype);
}

/// Of the layers of some runs, the largest of what `bytes` gives.
template <class Bytes>
int64_t largest(const model::Placement& placement, Bytes bytes) {
    int64_t most = 0;
    for (const Range layers : placement.virtual_stages) {
        for (int64_t i = layers.begin; i < layers.end; ++i) most = std::max<int64_t>(most, bytes(i));
    }
    return most;
}

}  // namespace

int64_t saved_bytes(const Architecture& a, int64_t layer, TensorPart tensor, const StepShape& step) {
    return model::saved_bytes(layer_bytes(a, layer, tensor, step), step.recompute);
}

int64_t forward_bytes(const Architecture& a, int64_t layer, TensorPart tensor, const StepShape& step) {
    return model::forward_bytes(layer_bytes(a, layer, tensor, step));
}

int64_t backward_bytes(const Architecture& a, int64_t layer, TensorPart tensor, const StepShape& step) {
    return model::backward_bytes(layer_bytes(a, layer, tensor, step), step.recompute);
}

int64_t most_in_flight(const StepShape& step, int virtual_stage) {
    int64_t held = 0, most = 0;
    for (const auto& [work, pass] : pipeline_schedule(step.pipeline, step.micro_batches)) {
        if (pass.virtual_stage != virtual_stage) continue;
        held += work == Work::forward ? 1 : -1;
        most = std::max(most, held);
    }
    return most;
}

int64_t message_bytes(const Architecture& a, TensorPart tensor, const StepShape& step) {
    if (step.pipeline.stages == 1) return 0;
    const int64_t most =
        std::min(most_messages(step.pipeline.stages), step.micro_batches * step.pipeline.virtual_stages);
    return most * model::hidden_bytes(a, tokens_of(step, tensor).local, step.dtype);
}

int64_t activation_bytes(const Architecture& a, const model::Placement& placement, const StepShape& step) {
    std::vector<int64_t> of_virtual_stage;
    for (const Range layers : placement.virtual_stages) {
        int64_t bytes = 0;
        for (int64_t i = layers.begin; i < layers.end; ++i)
            bytes += saved_bytes(a, i, placement.tensor, step);
        of_virtual_stage.push_back(bytes);
    }
    int64_t held = 0, most = 0;
    for (const auto& [work, pass] : pipeline_schedule(step.pipeline, step.micro_batches)) {
        const int64_t bytes = of_virtual_stage[pass.virtual_stage];
        held += work == Work::forward ? bytes : -bytes;
        most = std::max(most, held);
    }
    StepShape again = step;  // a layer computed again keeps everything
    again.recompute = Recompute::none;
    const int64_t layer = largest(placement, [&](int64_t i) {
        return backward_bytes(a, i, placement.tensor, step) +
               (step.recompute == Recompute::full ? saved_bytes(a, i, placement.tensor, again) : 0);
    });
    return most + layer + message_bytes(a, placement.tensor, step);
}

int64_t teacher_pass_bytes(const Architecture& a, const model::Placement& placement, const StepShape& step,
                           int64_t waiting) {
    return largest(placement, [&](int64_t i) { return forward_bytes(a, i, placement.tensor, step); }) +
           waiting * model::hidden_bytes(a, step.tokens(), step.dtype);
}

int64_t head_bytes(const Architecture& a, TensorPart tensor, const StepShape& step, int models) {
    return model::logit_bytes(a, step.device, tensor, step.tokens(), step.dtype, models) +
           model::head_state_bytes(a, tokens_of(step, tensor), step.dtype);
}

}  // namespace espalier::train
