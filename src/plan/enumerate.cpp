#include "src/plan/enumerate.hpp"

#include <algorithm>

#include "src/core/error.hpp"
#include "src/core/exact.hpp"

namespace espalier::plan {
namespace {

std::vector<int64_t> divisors(int64_t n) {
    std::vector<int64_t> small, large;
    for (int64_t i = 1; i * i <= n; ++i) {
        if (n % i != 0) continue;
        small.push_back(i);
        if (i != n / i) large.push_back(n / i);
    }
    small.insert(small.end(), large.rbegin(), large.rend());
    return small;
}

/// No memory holds more samples at a time, and no kernel is faster for them.
constexpr int64_t largest_micro_batch = 4096;

/// Of each number of micro-batches that so many samples can be, the smallest size: larger ones take more time
/// and more memory. Among them are all divisors, up to the largest size.
std::vector<int64_t> micro_batch_sizes(int64_t samples) {
    std::vector<int64_t> out{1};
    while (out.back() < samples) {
        const int64_t next = div_ceil(samples, div_ceil(samples, out.back()) - 1);
        if (next > largest_micro_batch) break;
        out.push_back(next);
    }
    return out;
}

std::vector<int64_t> chosen_or(const std::optional<int64_t>& chosen, std::vector<int64_t> all) {
    return chosen ? std::vector{*chosen} : std::move(all);
}

std::vector<model::Recompute> recomputes(const Step& step, const Choice& choice) {
    if (choice.recompute) return {*choice.recompute};
    if (step.practice.attention == Practice::Attention::fused &&
        step.practice.selective == Practice::Selective::attention)
        return {model::Recompute::selective, model::Recompute::full};
    return {model::Recompute::none, model::Recompute::selective, model::Recompute::full};
}

/// Calls visit(layout) for every grid of `gpus` ranks, legal or not.
template <class Visit>
void for_each_layout(const Step& step, int64_t gpus, const Choice& choice, Visit visit) {
    const int64_t depth =
        step.teacher ? std::min(step.model.depth(), step.teacher->depth()) : step.model.depth();
    for (const int64_t tp : chosen_or(choice.tp, divisors(gpus))) {
        if (gpus % tp != 0) continue;
        for (const int64_t pp : chosen_or(choice.pp, divisors(gpus / tp))) {
            if (gpus / tp % pp != 0) continue;
            const int64_t dp = gpus / tp / pp;
            std::vector<int64_t> virtual_stages{1};
            for (int64_t v = 2; pp > 1 && v * pp <= depth; ++v) virtual_stages.push_back(v);
            for (const int64_t v : chosen_or(choice.virtual_stages, virtual_stages))
                for (const int64_t micro_batch :
                     chosen_or(choice.micro_batch, micro_batch_sizes(div_ceil(step.global_batch, dp))))
                    for (const model::Recompute r : recomputes(step, choice))
                        visit(Layout{tp, pp, v, dp, micro_batch, r});
        }
    }
}

bool smaller(const Prediction& a, const Prediction& b) {
    return a.memory.sum() < b.memory.sum();
}

}  // namespace

Plan enumerate(const System& system, const Step& step, int64_t gpus, const Choice& choice) {
    Plan plan;
    std::string reason;
    StepPartition partition(step);
    for_each_layout(step, gpus, choice, [&](const Layout& layout) {
        if (auto text = objection(step, layout); !text.empty()) {
            if (reason.empty()) reason = to_string(layout) + ": " + text;
            return;
        }
        ++plan.tried;
        const Prediction p = predict(system, step, layout, partition);
        if (p.fits) {
            plan.layouts.push_back(p);
        } else if (!plan.nearest_miss || smaller(p, *plan.nearest_miss)) {
            plan.nearest_miss = p;
        }
    });
    ESPALIER_REQUIRE(plan.tried > 0, "no layout of {} GPUs can run this step\n  {}", gpus,
                     reason.empty() ? fmt::format("--tp x --pp must divide --gpus {}", gpus) : reason);
    if (!plan.layouts.empty()) plan.nearest_miss.reset();
    std::sort(plan.layouts.begin(), plan.layouts.end(), [](const Prediction& a, const Prediction& b) {
        return a.seconds != b.seconds ? a.seconds < b.seconds : smaller(a, b);
    });
    return plan;
}

}  // namespace espalier::plan
