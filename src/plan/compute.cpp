#include "src/plan/compute.hpp"

#include <algorithm>

#include "src/core/exact.hpp"
#include "src/model/parameters.hpp"
#include "src/plan/collective.hpp"
#include "src/plan/real.hpp"
#include "src/plan/traffic.hpp"

namespace espalier::plan {
namespace {

/// Kernels of a layer's forward pass: two norms, four products with biases, rotation, attention, activation,
/// two residual sums, and what frameworks put around them; backward starts twice as many. Only their product
/// with launch_seconds counts. A layer's output: product, bias, residual sum.
constexpr double launches_forward = 24, launches_backward = 48, launches_output = 3;

/// Bytes that materialised attention moves for each of its s^2 probabilities: products write and read them,
/// mask and softmax read and write, dropout reads, writes and keeps a mask.
double probability_bytes(double element) {
    return 6 * element + 1;
}

}  // namespace

struct Compute::Parts {
    double products;     // seconds
    double attention;    // its products, seconds
    double softmax;      // traffic of materialised probabilities, seconds
    double elementwise;  // norms, residuals, activation, rotation, seconds
    double cheap;        // norms and activation alone, seconds
    double collective;   // one gather and one scatter of [tokens, hidden], seconds
    double collectives;  // of such pairs: one in a parallel block
    Seconds output;      // of all these, what makes the layer's output: a product, a scatter, a residual sum

    Seconds sum() const { return {products + attention + softmax + elementwise, collectives * collective}; }
};

model::LayerShape local_shape(const model::Architecture& a, int64_t index, int64_t tp) {
    const model::TensorPart first{narrow<int>(tp), 0};
    const auto size = [&](model::Axis axis) { return model::local_range(a, index, axis, first).size(); };
    return {size(model::Axis::query_head), size(model::Axis::kv_head), size(model::Axis::ffn),
            a.layers[static_cast<size_t>(index)].window};
}

Compute::Compute(const System& system, const Step& step, const Layout& layout)
    : system_(system),
      step_(step),
      layout_(layout),
      element_(element_bytes(step.dtype)),
      tokens_(real(layout.micro_batch * step.seq_len)),
      local_tokens_(step.practice.norms == Practice::Norms::split_tokens ? tokens_ / real(layout.tp)
                                                                         : tokens_),
      tensor_(ring_link(system, {layout.tp, 1})) {}

double Compute::matmul(double m, double n, double k) const {
    return 2 * m * n * k / (system_.peak(step_.dtype) * system_.matmul.efficiency(m, n, k));
}

double Compute::traffic(double bytes) const {
    return bytes / (system_.memory_bandwidth * system_.memory_efficiency);
}

Compute::Parts Compute::parts(const model::Architecture& a, int64_t index) const {
    const auto local = local_shape(a, index, layout_.tp);
    const double h = real(a.hidden), q = real(local.query_heads * a.head_dim),
                 kv = real(local.kv_heads * a.head_dim), ffn = real(local.ffn),
                 gates = is_gated(a.activation) ? 2 : 1;
    const bool fused = step_.practice.attention == Practice::Attention::fused;
    Parts p{};
    p.products = matmul(tokens_, q + 2 * kv, h) + matmul(tokens_, h, q) + matmul(tokens_, gates * ffn, h) +
                 matmul(tokens_, h, ffn);
    // Q K^T and P V, 2 head_dim for each query and key; fused attention leaves out keys that are masked.
    const double keys = fused ? model::mean_visible_keys(local, step_.seq_len) : real(step_.seq_len);
    p.attention = 4 * tokens_ * keys * q / (system_.peak(step_.dtype) * system_.attention_efficiency);
    if (!fused)
        p.softmax =
            traffic(probability_bytes(element_) * tokens_ * real(step_.seq_len) * real(local.query_heads));
    // Normed heads are read and written, and where that is done again, turned again.
    const double normed = a.qk_norm_eps ? element_ * tokens_ * 2 * (q + kv) : 0;
    const double inputs = a.parallel_block ? 1 : 2;  // normed, and gathered
    const double activation = tokens_ * activation_bytes(element_, gates, ffn);
    p.cheap = traffic(local_tokens_ * inputs * norm_bytes(element_, h) + activation + 2 * normed);
    const double residual_stream = (a.post_norms ? 4 : inputs) * norm_bytes(element_, h) +
                                   2 * residual_sum_bytes(element_, h) + 2 * step_.practice.dropout_bytes * h;
    p.elementwise =
        traffic(local_tokens_ * residual_stream + activation + element_ * tokens_ * 2 * (q + kv) + normed);
    p.collective = all_reduce_seconds(tensor_, layout_.tp, element_ * tokens_ * h);
    p.collectives = inputs;
    p.output = {matmul(tokens_, h, ffn) + traffic(local_tokens_ * residual_sum_bytes(element_, h)),
                p.collective / 2};
    return p;
}

Seconds Compute::bounded_by_launches(Seconds s, double launches) const {
    // The host starts kernels ahead of the device; where it is the slower of the two, the device waits.
    s.compute += std::max(0.0, launches * system_.launch_seconds - s.sum());
    return s;
}

Seconds Compute::forward(const Parts& p) const {
    return bounded_by_launches(p.sum(), launches_forward);
}

Passes Compute::layer(const model::Architecture& a, int64_t index) const {
    const Parts p = parts(a, index);
    const bool fused = step_.practice.attention == Practice::Attention::fused;
    Passes out;
    out.forward = forward(p);
    // Two products for each of forward's; fused attention computes Q K^T again as well (Dao 2023: 5 products
    // for 2).
    out.backward = bounded_by_launches(
        {2 * p.products + (fused ? 2.5 : 2) * p.attention + 2 * p.softmax + 2 * p.elementwise,
         p.collectives * p.collective},
        launches_backward);
    if (layout_.recompute == model::Recompute::full) out.backward += full_again(p);
    if (layout_.recompute == model::Recompute::selective) out.backward += selective_again(p);
    return out;
}

Seconds Compute::full_again(const Parts& p) const {
    if (step_.practice.full == Practice::Full::whole_layer) return forward(p);
    const Seconds all = p.sum();
    return bounded_by_launches({all.compute - p.output.compute, all.tensor - p.output.tensor},
                               launches_forward - launches_output);
}

Seconds Compute::selective_again(const Parts& p) const {
    // Two gathers of norms' outputs are what one gather and one scatter take.
    if (step_.practice.selective == Practice::Selective::norms_and_activations)
        return {p.cheap, p.collectives / 2 * p.collective};
    // Fused attention computes its inside again by nature, which its backward pass counts.
    if (step_.practice.attention == Practice::Attention::fused) return {};
    return {p.attention + p.softmax, 0};
}

double Compute::head_product(const model::Architecture& a) const {
    return matmul(tokens_, real(div_ceil(a.vocab, layout_.tp)), real(a.hidden));
}

Passes Compute::head() const {
    const auto& a = step_.model;
    const double local_logits = tokens_ * real(div_ceil(a.vocab, layout_.tp)),
                 logits = traffic(0.5 * bytes_per_logit * local_logits);
    // Of hidden states, or a scatter of their gradient.
    const auto gather = [&](const model::Architecture& m) {
        return all_reduce_seconds(tensor_, layout_.tp, element_ * tokens_ * real(m.hidden)) / 2;
    };
    Passes out;
    out.forward = {head_product(a) + logits, gather(a)};
    out.backward = {2 * head_product(a) + logits, gather(a)};
    if (step_.teacher) out.forward += {head_product(*step_.teacher) + logits, gather(*step_.teacher)};
    return out;
}

}  // namespace espalier::plan
