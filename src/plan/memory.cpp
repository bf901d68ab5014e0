#include "src/plan/memory.hpp"

#include <algorithm>

#include "src/model/logits.hpp"
#include "src/plan/compute.hpp"
#include "src/plan/real.hpp"

namespace espalier::plan {
namespace {

/// Of a weight, in f32: first and second moment, and a master where the weight itself is shorter.
double optimizer_bytes(double element) {
    return element < 4 ? 12 : 8;
}

/// Bytes of a micro-batch's activations by kind.
struct Widths {
    double all, mine;      // [T, h]; those of them that this rank normalises
    double qkv, heads;     // [T, q + 2 kv], [T, q]
    double before, after;  // the activation: [T, gates ffn], [T, ffn]
    double lse, stats;     // attention's [T, query heads], a norm's [T, 2], f32
    double normed, rstd;   // where heads are normed: [T, q + 2 kv], [T, heads that are] in f32
    double post;           // where outputs are normed too: two [T, h] and their stats
    double masks;          // of the two dropouts
    double probabilities;  // of materialised attention, dropped and not, and their mask
};

Widths widths(const Step& step, const Layout& l, const model::Architecture& a, int64_t index) {
    const auto local = local_shape(a, index, l.tp);
    const double element = element_bytes(step.dtype), h = real(a.hidden),
                 tokens = real(l.micro_batch * step.seq_len),
                 mine = step.practice.norms == Practice::Norms::split_tokens ? tokens / real(l.tp) : tokens;
    const double heads = real(local.query_heads), q = heads * real(a.head_dim),
                 kv = real(local.kv_heads * a.head_dim), ffn = real(local.ffn),
                 gates = is_gated(a.activation) ? 2 : 1;
    return {.all = element * tokens * h,
            .mine = element * mine * h,
            .qkv = element * tokens * (q + 2 * kv),
            .heads = element * tokens * q,
            .before = element * tokens * gates * ffn,
            .after = element * tokens * ffn,
            .lse = 4 * tokens * heads,
            .stats = 4 * mine * 2,
            .normed = a.qk_norm_eps ? element * tokens * (q + 2 * kv) : 0,
            .rstd = a.qk_norm_eps ? 4 * tokens * (heads + real(local.kv_heads)) : 0,
            .post = a.post_norms ? 2 * (element * h + 4 * 2) * mine : 0,
            .masks = 2 * step.practice.dropout_bytes * mine * h,
            .probabilities = (2 * element + 1) * tokens * real(step.seq_len) * heads};
}

double kept_bytes(const Practice& practice, const Widths& w, Recomputation recompute) {
    if (recompute == Recomputation::full) return w.mine;
    const bool none = recompute == Recomputation::none;
    // Inputs of the two norms, of attention, of the output projection and of the activation.
    const double inputs = 2 * w.mine + w.post + w.qkv + w.heads + w.before;
    if (practice.selective == Practice::Selective::norms_and_activations)
        return inputs + w.lse + 2 * w.stats + (none ? 2 * w.all + w.after + w.normed + w.rstd : 0);
    // Inputs of the other three products as well, the norms' outputs in parts.
    const bool probabilities = none && practice.attention == Practice::Attention::materialised;
    return inputs + 2 * w.mine + w.after + w.normed + w.rstd + w.masks +
           (probabilities ? w.probabilities : 0);
}

/// Of the layers of some runs, the largest of what `bytes` gives.
template <class Bytes>
double largest(const std::vector<Range>& runs, Bytes bytes) {
    double most = 0;
    for (const Range& layers : runs) {
        for (int64_t i = layers.begin; i < layers.end; ++i) most = std::max(most, bytes(i));
    }
    return most;
}

/// Hidden states of a teacher that may wait on the last stage for the student's: it runs ahead by what fills
/// the waits at a step's end and at the next one's beginning.
double most_taught_ahead(int64_t stages) {
    return real(3 * (stages - 1) + 1);
}

/// Micro-batches of this rank in flight, in whole ones: the interleaved schedule warms up with
/// 2 (pp - stage - 1) + (v - 1) group virtual stages (Narayanan et al. 2021, with groups of pp micro-batches;
/// train::pipeline_schedule has as many groups of at least pp as there can be).
double in_flight(const Step& step, const Layout& l, int64_t stage) {
    const int64_t micro_batches = fullest_share(step, l).micro_batches, v = l.virtual_stages;
    if (v == 1) return real(std::min(l.pp - stage, micro_batches));
    const int64_t group = div_ceil(micro_batches, std::max<int64_t>(1, micro_batches / l.pp));
    return real(std::min(micro_batches * v, 2 * (l.pp - stage - 1) + (v - 1) * group + 1)) / real(v);
}

double student_activations(const Step& step, const Layout& l, int64_t stage, const std::vector<Range>& runs) {
    const auto& a = step.model;
    double of_a_micro_batch = 0;
    for (const Range& layers : runs) {
        for (int64_t i = layers.begin; i < layers.end; ++i)
            of_a_micro_batch += layer_activations(step, l, a, i);
    }
    const double layer = largest(runs, [&](int64_t i) { return backward_bytes(step, l, a, i); });
    const double hidden = element_bytes(step.dtype) * real(l.micro_batch * step.seq_len) * real(a.hidden);
    return in_flight(step, l, stage) * of_a_micro_batch + layer + (stage == l.pp - 1 ? 2 * hidden : 0);
}

double teacher_activations(const Step& step, const Layout& l, int64_t stage, const std::vector<Range>& runs) {
    const auto& a = *step.teacher;
    const double hidden = element_bytes(step.dtype) * real(l.micro_batch * step.seq_len) * real(a.hidden);
    return largest(runs, [&](int64_t i) { return forward_bytes(step, l, a, i); }) +
           (stage == l.pp - 1 ? most_taught_ahead(l.pp) * hidden : 0);
}

/// Of the last stage.
double logit_bytes(const Step& step, const Layout& l) {
    const int64_t tokens = l.micro_batch * step.seq_len;
    const double models = step.teacher ? 2 : 1, vocab = real(div_ceil(step.model.vocab, l.tp)),
                 element = element_bytes(step.dtype);
    // f16 logits, the f32 copy that becomes the gradient, and the f16 gradient.
    if (step.practice.head == Practice::Head::whole) return models * 8 * real(tokens) * vocab;
    // f32 logits; the student's become the gradient, of which products want the weights' type.
    const int64_t block =
        model::logit_blocks(step.model, Device::cuda, narrow<int>(l.tp), tokens).front().size();
    return real(block) * vocab * (models * 4 + (element < 4 ? element : 0));
}

}  // namespace

double layer_activations(const Step& step, const Layout& l, const model::Architecture& a, int64_t index) {
    return kept_bytes(step.practice, widths(step, l, a, index), l.recompute);
}

double forward_bytes(const Step& step, const Layout& l, const model::Architecture& a, int64_t index) {
    const Widths w = widths(step, l, a, index);
    const double gathered = l.tp > 1 ? 4 : 2;  // two norms' outputs, and partial sums
    return gathered * w.all + 3 * w.mine + w.qkv + w.heads + w.before + w.after + w.lse + w.rstd;
}

double backward_bytes(const Step& step, const Layout& l, const model::Architecture& a, int64_t index) {
    const Widths w = widths(step, l, a, index);
    const auto& practice = step.practice;
    const bool full = l.recompute == Recomputation::full;
    if (practice.selective == Practice::Selective::attention)
        return full ? kept_bytes(practice, w, Recomputation::selective) : 0;
    const double gathered = l.tp > 1 ? 4 : 3;  // d_out, two norms' outputs, and a gradient's partial sums
    const double mine = l.tp > 1 ? 4 : 2;      // the residual stream's gradient, and what is added to it
    const bool selective = l.recompute == Recomputation::selective;
    const double neurons = selective ? 2 : 1;  // and their gradient
    const double heads = selective ? w.normed + w.rstd : 0;
    return gathered * w.all + mine * w.mine + neurons * w.after + w.before + w.heads + w.qkv + heads +
           (full ? kept_bytes(practice, w, Recomputation::none) : 0);
}

Memory memory(const Step& step, const Layout& l, int64_t stage, StepPartition& partition) {
    const auto& practice = step.practice;
    const double weights = partition.model().weights(l, stage), element = element_bytes(step.dtype);
    Memory m;
    m.weights = element * weights;
    m.gradients = practice.gradient_bytes * weights;
    m.optimizer =
        optimizer_bytes(element) * weights / (practice.state == Practice::State::sharded ? real(l.dp) : 1);
    m.activations = student_activations(step, l, stage, partition.model().layers(l, stage));
    if (step.teacher) {
        m.weights += element * partition.teacher()->weights(l, stage);
        m.activations += teacher_activations(step, l, stage, partition.teacher()->layers(l, stage));
    }
    if (stage == l.pp - 1) m.logits = logit_bytes(step, l);
    return m;
}

}  // namespace espalier::plan
