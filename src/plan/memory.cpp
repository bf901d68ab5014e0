#include "src/plan/memory.hpp"

#include <algorithm>

#include "src/model/vocabulary.hpp"
#include "src/plan/compute.hpp"
#include "src/plan/real.hpp"

namespace espalier::plan {
namespace {

/// Of a weight, in f32: first and second moment, and a master where the weight itself is shorter.
double optimizer_bytes(double element) {
    return element < 4 ? 12 : 8;
}

}  // namespace

double layer_activations(const Step& step, const Layout& l, const model::Architecture& a, int64_t index) {
    const auto& practice = step.practice;
    const auto local = local_shape(a, index, l.tp);
    const double element = element_bytes(step.dtype);
    const double tokens = real(l.micro_batch * step.seq_len),
                 local_tokens =
                     practice.norms == Practice::Norms::split_tokens ? tokens / real(l.tp) : tokens;
    const double h = real(a.hidden), q = real(local.query_heads * a.head_dim),
                 kv = real(local.kv_heads * a.head_dim), ffn = real(local.ffn),
                 gates = is_gated(a.activation) ? 2 : 1;
    if (l.recompute == Recomputation::full) return element * local_tokens * h;
    // Inputs of the two norms, and of the two products that follow them; masks of the two dropouts.
    double bytes = local_tokens * h * (4 * element + 2 * practice.dropout_bytes);
    // Query, key, value, input of the output projection; input of the activation and of the down projection.
    bytes += tokens * element * (q + 2 * kv + q + (gates + 1) * ffn);
    if (l.recompute == Recomputation::none && practice.attention == Practice::Attention::materialised)
        bytes += (2 * element + 1) * tokens * real(step.seq_len) * real(local.query_heads);
    return bytes;
}

Memory memory(const Step& step, const Layout& l, int64_t stage, StepPartition& partition) {
    const auto& a = step.model;
    const auto& practice = step.practice;
    const double parameters = partition.model().weights(l, stage), dp = real(l.dp);
    const double tokens = real(l.micro_batch * step.seq_len), element = element_bytes(step.dtype);
    Memory m;
    m.weights = element * parameters;
    m.gradients = practice.gradient_bytes * parameters;
    m.optimizer =
        optimizer_bytes(element) * parameters / (practice.state == Practice::State::sharded ? dp : 1);

    double of_a_micro_batch = 0, largest = 0;
    for (const Range& layers : partition.model().layers(l, stage)) {
        for (int64_t i = layers.begin; i < layers.end; ++i) {
            of_a_micro_batch += layer_activations(step, l, a, i);
            Layout kept = l;
            kept.recompute = Recomputation::selective;
            largest = std::max(largest, layer_activations(step, kept, a, i));
        }
    }
    const double micro_batches = real(step.global_batch / l.dp / l.micro_batch), v = real(l.virtual_stages);
    // In flight, in whole micro-batches of this rank: the interleaved schedule warms up with 2 (pp - stage -
    // 1) + (v - 1) pp virtual stages (Narayanan et al. 2021).
    const double in_flight = l.virtual_stages == 1
                                 ? real(l.pp - stage)
                                 : (2 * real(l.pp - stage - 1) + (v - 1) * real(l.pp) + 1) / v;
    m.activations = std::min(in_flight, micro_batches) * of_a_micro_batch;
    if (l.recompute == Recomputation::full) m.activations += largest;
    const bool last = stage == l.pp - 1;
    if (last) m.activations += 2 * element * tokens * real(a.hidden);
    if (step.teacher) {
        m.weights += element * partition.teacher()->weights(l, stage);
        // Forward only: one layer's working set, and the input.
        Layout one = l;
        one.recompute = Recomputation::selective;
        m.activations += layer_activations(step, one, *step.teacher, 0);
    }
    if (last) {
        const double models = step.teacher ? 2 : 1;
        const double block =
            real(model::logit_blocks(a, Device::cuda, narrow<int>(l.tp), l.micro_batch * step.seq_len)
                     .front()
                     .rows);
        const double vocab = real(div_ceil(a.vocab, l.tp));
        m.logits =
            practice.head == Practice::Head::blocks
                // f32 logits; the student's become the gradient, of which products want the weights' type
                ? block * vocab * (models * 4 + (element < 4 ? element : 0))
                // f16 logits, the f32 copy that becomes the gradient, and the f16 gradient
                : models * 8 * tokens * vocab;
    }
    return m;
}

}  // namespace espalier::plan
