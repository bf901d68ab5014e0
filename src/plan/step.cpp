#include "src/plan/step.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "src/plan/collective.hpp"
#include "src/plan/compute.hpp"
#include "src/plan/real.hpp"

namespace espalier::plan {
namespace {

/// Bytes of a weight. Read: gradient, master, two moments. Written: master, two moments, and the weight where
/// it is not the master itself.
double optimizer_traffic(double element) {
    return 4 + 12 + 12 + (element < 4 ? element : 0);
}

/// Ranks between neighbours along each axis of the grid.
struct Strides {
    int64_t pipeline;
    int64_t data;
};

Strides strides(Practice::Order order, const Layout& l) {
    return order == Practice::Order::tp_pp_dp ? Strides{l.tp, l.tp * l.pp} : Strides{l.tp * l.dp, l.tp};
}

/// Layers of one shape cost the same.
class LayerCosts {
public:
    LayerCosts(const Compute& compute, const model::Architecture& a) : compute_(compute), a_(a) {}

    Passes trained(int64_t index) {
        auto [it, missing] = passes_.try_emplace(a_.layers[index]);
        if (missing) it->second = compute_.layer(a_, index);
        return it->second;
    }
    Seconds forward(int64_t index) { return trained(index).forward; }

private:
    const Compute& compute_;
    const model::Architecture& a_;
    std::map<model::LayerShape, Passes> passes_;
};

/// A micro-batch on each stage.
std::vector<Passes> stage_passes(const System& system, const Step& step, const Layout& l,
                                 StepPartition& partition) {
    const Compute compute(system, step, l);
    LayerCosts student(compute, step.model);
    std::optional<LayerCosts> teacher;
    if (step.teacher) teacher.emplace(compute, *step.teacher);
    std::vector<Passes> out(static_cast<size_t>(l.pp));
    for (int64_t stage = 0; stage < l.pp; ++stage) {
        Passes& passes = out[stage];
        for (const Range& layers : partition.model().layers(l, stage))
            for (int64_t i = layers.begin; i < layers.end; ++i) passes += student.trained(i);
        if (!teacher) continue;
        for (const Range& layers : partition.teacher()->layers(l, stage))
            for (int64_t i = layers.begin; i < layers.end; ++i) passes.forward += teacher->forward(i);
    }
    out.back() += compute.head();
    return out;
}

/// Messages of a micro-batch to and from neighbours: activations forward, gradients backward, for each
/// virtual stage; the teacher's activations too. Tensor parallel ranks send a part each.
double message_seconds(const System& system, const Step& step, const Layout& l) {
    if (l.pp == 1) return 0;
    const Link link = neighbour_link(system, {l.pp, strides(step.practice.order, l).pipeline});
    const double column = element_bytes(step.dtype) * real(l.micro_batch * step.seq_len) / real(l.tp);
    double seconds = 2 * send_seconds(link, column * real(step.model.hidden));
    if (step.teacher) seconds += send_seconds(link, column * real(step.teacher->hidden));
    return real(l.virtual_stages) * seconds;
}

/// Gradients summed over replicas, weights handed back: what is not hidden behind the micro-batch's passes.
double data_seconds(const System& system, const Step& step, const Layout& l, double parameters,
                    const Passes& passes) {
    const auto& practice = step.practice;
    if (l.dp == 1) return 0;
    const Link link = ring_link(system, {l.dp, strides(practice.order, l).data});
    const bool sharded = practice.state == Practice::State::sharded;
    const double gradient = practice.gradient_bytes,
                 back = sharded ? element_bytes(step.dtype) : practice.gradient_bytes;
    const double bucket = std::max(practice.bucket, practice.bucket_of_replica * real(l.dp));
    const double buckets = std::max(1.0, parameters / bucket);
    const auto exposed = [&](double bytes, double cover) {
        const double one = reduce_scatter_seconds(link, l.dp, bytes / buckets), all = buckets * one;
        if (practice.gradients == Practice::Gradients::after_backward) return all;
        return std::max(one, all - cover * (1 - 1 / buckets));
    };
    return exposed(gradient * parameters, passes.backward.sum()) +
           exposed(back * parameters, sharded ? passes.forward.sum() : 0.0);
}

/// First and last stage add up their gradients of a tied embedding.
double tied_seconds(const System& system, const Step& step, const Layout& l) {
    if (!step.model.tied || l.pp == 1) return 0;
    const Link link = neighbour_link(system, {l.pp, strides(step.practice.order, l).pipeline});
    return all_reduce_seconds(
        link, 2,
        step.practice.gradient_bytes * real(step.model.vocab) * real(step.model.hidden) / real(l.tp));
}

}  // namespace

double bubble_seconds(const std::vector<double>& stages, int64_t virtual_stages, double micro_batches) {
    const double sum = std::accumulate(stages.begin(), stages.end(), 0.0),
                 slowest = *std::max_element(stages.begin(), stages.end()), v = real(virtual_stages);
    return (sum - slowest) / v + (1 - 1 / v) * std::max(0.0, sum - micro_batches * slowest);
}

Breakdown breakdown(const System& system, const Step& step, const Layout& l, StepPartition& partition) {
    const auto passes = stage_passes(system, step, l, partition);
    const double messages = message_seconds(system, step, l);
    std::vector<double> stages;
    for (const Passes& p : passes) stages.push_back(p.forward.sum() + p.backward.sum() + messages);
    const auto slowest = static_cast<size_t>(std::max_element(stages.begin(), stages.end()) - stages.begin());
    const double micro_batches = real(fullest_share(step, l).samples) / real(l.micro_batch);

    Breakdown b;
    const Passes& p = passes[slowest];
    b.compute = micro_batches * (p.forward.compute + p.backward.compute);
    b.tensor = micro_batches * (p.forward.tensor + p.backward.tensor);
    b.pipeline = micro_batches * messages;
    b.bubble = bubble_seconds(stages, l.virtual_stages, micro_batches);
    for (int64_t stage = 0; stage < l.pp; ++stage) {
        const double held = partition.model().weights(l, stage),
                     updated = held / (step.practice.state == Practice::State::sharded ? real(l.dp) : 1);
        b.data = std::max(b.data, data_seconds(system, step, l, held, passes[stage]));
        b.optimizer = std::max(b.optimizer, optimizer_traffic(element_bytes(step.dtype)) * updated /
                                                (system.memory_bandwidth * system.memory_efficiency));
    }
    b.data += tied_seconds(system, step, l);
    return b;
}

Prediction predict(const System& system, const Step& step, const Layout& l, StepPartition& partition) {
    Prediction out;
    out.layout = l;
    out.breakdown = breakdown(system, step, l, partition);
    for (int64_t stage = 0; stage < l.pp; ++stage) {
        const Memory m = memory(step, l, stage, partition);
        if (m.sum() > out.memory.sum()) out.memory = m;
    }
    out.seconds = out.breakdown.sum();
    out.mfu = step.flops() / (out.seconds * real(l.ranks()) * system.peak(step.dtype));
    out.tokens_per_second = step.tokens() / out.seconds;
    out.fits = out.memory.sum() <= system.memory_bytes - system.reserved_bytes;
    return out;
}

Prediction predict(const System& system, const Step& step, const Layout& l) {
    StepPartition partition(step);
    return predict(system, step, l, partition);
}

}  // namespace espalier::plan
