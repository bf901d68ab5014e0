#include "src/plan/partition.hpp"

#include "src/model/placement.hpp"
#include "src/plan/real.hpp"

namespace espalier::plan {
namespace {

std::vector<Range> runs_of_even_depth(int64_t depth, int64_t count) {
    std::vector<Range> runs;
    for (int64_t i = 0; i < count; ++i) runs.push_back(split_evenly(depth, count, i));
    return runs;
}

}  // namespace

LocalWeights::LocalWeights(const model::Architecture& a, int64_t tp) : before{0} {
    // One layer stands for all of its shape.
    std::map<model::LayerShape, double> known;
    for (const auto& shape : a.layers) {
        const auto [it, missing] = known.try_emplace(shape, 0.0);
        if (missing) {
            model::Architecture one = a;
            one.layers = {shape};
            embedding = tail = 0;
            for (const auto& p : model::parameters(one)) {
                const double size = real(element_count(model::local_box(one, p, {narrow<int>(tp), 0}).count));
                if (p.layer == 0) {
                    it->second += size;
                } else if (p.weight == model::Weight::token_embedding) {
                    embedding += size;
                } else {
                    tail += size;
                }
            }
        }
        before.push_back(before.back() + it->second);
    }
}

const std::vector<Range>& Partition::runs(int64_t count) {
    auto& runs = runs_[count];
    if (runs.empty())
        runs = practice_.stages == Practice::Stages::balanced ? model::stage_runs(a_, narrow<int>(count))
                                                              : runs_of_even_depth(a_.depth(), count);
    return runs;
}

std::vector<Range> Partition::layers(const Layout& l, int64_t stage) {
    const auto& all = runs(l.pp * l.virtual_stages);
    std::vector<Range> out;
    for (int64_t v = 0; v < l.virtual_stages; ++v) out.push_back(all[v * l.pp + stage]);
    return out;
}

double Partition::weights(const Layout& l, int64_t stage) {
    const LocalWeights& local = weights_.try_emplace(l.tp, a_, l.tp).first->second;
    double sum = 0;
    for (const Range& run : layers(l, stage)) sum += local.of(run);
    const bool first = stage == 0, last = stage == l.pp - 1;
    if (first || (last && a_.tied)) sum += local.embedding;
    return last ? sum + local.tail : sum;
}

Partition* StepPartition::teacher() {
    if (!teacher_ && step_.teacher) teacher_.emplace(*step_.teacher, step_.practice);
    return teacher_ ? &*teacher_ : nullptr;
}

}  // namespace espalier::plan
