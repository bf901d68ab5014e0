#include "src/plan/memory.hpp"

#include <algorithm>

#include "src/model/activation_bytes.hpp"
#include "src/plan/real.hpp"

namespace espalier::plan {
namespace {

using model::Recompute;

/// Of a weight, in f32: first and second moment, and a master where the weight itself is shorter.
double optimizer_bytes(double element) {
    return element < 4 ? 12 : 8;
}

/// Of tensor parallel rank 0, which has the most.
model::TensorPart first_rank(const Layout& l) {
    return {narrow<int>(l.tp), 0};
}

model::TokenCounts tokens_of(const Step& step, const Layout& l) {
    const int64_t all = l.micro_batch * step.seq_len;
    return {all, step.practice.norms == Practice::Norms::split_tokens ? div_ceil(all, l.tp) : all};
}

model::ActivationBytes layer_bytes(const Step& step, const Layout& l, const model::Architecture& a,
                                   int64_t index) {
    return model::activation_bytes(a, index, first_rank(l), tokens_of(step, l), step.dtype);
}

/// Of two dropouts.
double mask_bytes(const Step& step, const Layout& l, const model::Architecture& a) {
    return 2 * step.practice.dropout_bytes * real(tokens_of(step, l).local) * real(a.hidden);
}

/// Of materialised attention: the probabilities, dropped and not, and their mask.
double probability_bytes(const Step& step, const model::ActivationBytes& b) {
    const double probabilities = real(b.lse / 4) * real(step.seq_len);
    return (2 * element_bytes(step.dtype) + 1) * probabilities;
}

/// Of programs that compute nothing but attention again: inputs of the other three products as well, the
/// norms' outputs in parts.
double kept_by_others(const Step& step, const Layout& l, const model::Architecture& a,
                      const model::ActivationBytes& b, Recompute recompute) {
    const bool probabilities =
        recompute == Recompute::none && step.practice.attention == Practice::Attention::materialised;
    return real(b.inputs() + 2 * b.local + b.neurons + b.normed + b.rstd) + mask_bytes(step, l, a) +
           (probabilities ? probability_bytes(step, b) : 0);
}

double kept_bytes(const Step& step, const Layout& l, const model::Architecture& a, int64_t index,
                  Recompute recompute) {
    const auto b = layer_bytes(step, l, a, index);
    if (recompute != Recompute::full && step.practice.selective == Practice::Selective::attention)
        return kept_by_others(step, l, a, b, recompute);
    return real(model::saved_bytes(b, recompute));
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
    const bool last = stage == l.pp - 1;
    return in_flight(step, l, stage) * of_a_micro_batch + layer +
           (last ? real(model::head_state_bytes(a, tokens_of(step, l), step.dtype)) : 0);
}

double teacher_activations(const Step& step, const Layout& l, int64_t stage, const std::vector<Range>& runs) {
    const auto& a = *step.teacher;
    const double hidden = real(model::hidden_bytes(a, tokens_of(step, l).all, step.dtype));
    return largest(runs, [&](int64_t i) { return forward_bytes(step, l, a, i); }) +
           (stage == l.pp - 1 ? real(model::most_taught_ahead(l.pp)) * hidden : 0);
}

/// Of the last stage.
double logit_bytes(const Step& step, const Layout& l) {
    const int64_t tokens = l.micro_batch * step.seq_len;
    const int models = step.teacher ? 2 : 1;
    if (step.practice.head == Practice::Head::blocks)
        return real(model::logit_bytes(step.model, Device::cuda, first_rank(l), tokens, step.dtype, models));
    // f16 logits, the f32 copy that becomes the gradient, and the f16 gradient.
    return models * 8 * real(tokens) * real(div_ceil(step.model.vocab, l.tp));
}

}  // namespace

double layer_activations(const Step& step, const Layout& l, const model::Architecture& a, int64_t index) {
    return kept_bytes(step, l, a, index, l.recompute);
}

double forward_bytes(const Step& step, const Layout& l, const model::Architecture& a, int64_t index) {
    return real(model::forward_bytes(layer_bytes(step, l, a, index)));
}

double backward_bytes(const Step& step, const Layout& l, const model::Architecture& a, int64_t index) {
    const bool full = l.recompute == Recompute::full;
    if (step.practice.selective == Practice::Selective::attention)
        return full ? kept_bytes(step, l, a, index, Recompute::selective) : 0;
    return real(model::backward_bytes(layer_bytes(step, l, a, index), l.recompute)) +
           (full ? kept_bytes(step, l, a, index, Recompute::none) : 0);
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
