#include "src/train/memory.hpp"

#include <algorithm>

#include "src/model/logits.hpp"
#include "src/train/pipeline.hpp"

namespace espalier::train {
namespace {

using model::Architecture;
using model::Axis;
using model::Recompute;
using model::TensorPart;

/// Bytes of a micro-batch's activations by kind, as model::Layer has them.
struct Widths {
    int64_t all, mine;        ///< [T, H] and [Tl, H]
    int64_t qkv, heads;       ///< [T, (q + 2 kv) head_dim], [T, q head_dim]
    int64_t before, neurons;  ///< [T, 2 ffn] or [T, ffn], [T, ffn]
    int64_t lse, stats;       ///< [batch, q, seq] and [Tl, 2], f32
    int64_t normed, rstd;     ///< where heads are normed: [T, (q + 2 kv) head_dim], [T, q + kv] in f32
    int64_t post;  ///< where outputs are normed too: what attention and MLP put out, and the norms' stats
};

int64_t hidden_bytes(const Architecture& a, const StepShape& step, int64_t tokens) {
    return tokens * a.hidden * static_cast<int64_t>(size_of(step.dtype));
}

int64_t local_tokens(TensorPart tensor, const StepShape& step) {
    return split_evenly(step.tokens(), tensor.size, tensor.rank).size();
}

Widths widths(const Architecture& a, int64_t layer, TensorPart tensor, const StepShape& step) {
    const auto size = [&](Axis axis) { return model::local_range(a, layer, axis, tensor).size(); };
    const int64_t tokens = step.tokens(), mine = local_tokens(tensor, step), q = size(Axis::query_head),
                  kv = size(Axis::kv_head), ffn = size(Axis::ffn);
    const int64_t row = tokens * static_cast<int64_t>(size_of(step.dtype));
    return {.all = hidden_bytes(a, step, tokens),
            .mine = hidden_bytes(a, step, mine),
            .qkv = row * (q + 2 * kv) * a.head_dim,
            .heads = row * q * a.head_dim,
            .before = row * (is_gated(a.activation) ? 2 : 1) * ffn,
            .neurons = row * ffn,
            .lse = 4 * tokens * q,
            .stats = 4 * mine * 2,
            .normed = a.qk_norm_eps ? row * (q + 2 * kv) * a.head_dim : 0,
            .rstd = a.qk_norm_eps ? 4 * tokens * (q + kv) : 0,
            .post = a.post_norms ? 2 * (hidden_bytes(a, step, mine) + 4 * mine * 2) : 0};
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
    const Widths w = widths(a, layer, tensor, step);
    if (step.recompute == Recompute::full) return w.mine;
    const int64_t selective = 2 * w.mine + 2 * w.stats + w.post + w.qkv + w.heads + w.lse + w.before;
    return step.recompute == Recompute::none ? selective + 2 * w.all + w.neurons + w.normed + w.rstd
                                             : selective;
}

// The steps of Layer::forward and Layer::backward, from the top: where one rank has all tokens, gathering and
// scattering make no copies: the first two partial sums are h and out, and two of d_full are db and da.

int64_t forward_bytes(const Architecture& a, int64_t layer, TensorPart tensor, const StepShape& step) {
    const Widths w = widths(a, layer, tensor, step);
    const int64_t gathered = tensor.size > 1 ? 4 : 2;  // a, b and partial sums
    return gathered * w.all + 3 * w.mine + w.qkv + w.heads + w.before + w.neurons + w.lse + w.rstd;
}

int64_t backward_bytes(const Architecture& a, int64_t layer, TensorPart tensor, const StepShape& step) {
    const Widths w = widths(a, layer, tensor, step);
    const int64_t gathered = tensor.size > 1 ? 4 : 3;  // d_full, a and b
    const int64_t mine = tensor.size > 1 ? 4 : 2;      // d_out, db; da and a norm's part
    const int64_t neurons = step.recompute == Recompute::selective ? 2 : 1;  // act, d_act
    const int64_t heads = step.recompute == Recompute::selective ? w.normed + w.rstd : 0;
    const int64_t post = a.post_norms ? w.mine : 0;  // the gradient of what was put out
    return gathered * w.all + mine * w.mine + post + neurons * w.neurons + w.before + w.heads + w.qkv + heads;
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
    const int64_t messages =
        step.pipeline.stages > 1
            ? std::min(most_messages, step.micro_batches * step.pipeline.virtual_stages) *
                  hidden_bytes(a, step, local_tokens(placement.tensor, step))
            : 0;
    return most + layer + messages;
}

int64_t teacher_pass_bytes(const Architecture& a, const model::Placement& placement, const StepShape& step,
                           int64_t waiting) {
    return largest(placement, [&](int64_t i) { return forward_bytes(a, i, placement.tensor, step); }) +
           waiting * hidden_bytes(a, step, step.tokens());
}

int64_t head_bytes(const Architecture& a, TensorPart tensor, const StepShape& step, int models) {
    const auto element = static_cast<int64_t>(size_of(step.dtype));
    const int64_t rows = model::logit_blocks(a, step.device, tensor.size, step.tokens()).front().size(),
                  vocab = model::local_range(a, -1, Axis::vocab, tensor).size();
    const bool in_place = step.dtype == DType::f32 && a.final_soft_cap == 0;
    const int64_t logits = rows * vocab * (4 * models + (in_place ? 0 : element));
    return logits + 2 * hidden_bytes(a, step, step.tokens()) +
           hidden_bytes(a, step, local_tokens(tensor, step));
}

}  // namespace espalier::train
