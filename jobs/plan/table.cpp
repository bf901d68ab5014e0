#include "jobs/plan/table.hpp"

#include <fmt/core.h>

namespace espalier::jobs {

using nlohmann::ordered_json;

std::string table(const std::vector<plan::Prediction>& layouts, size_t most) {
    std::string out = fmt::format(
        "{:>4} {:>4} {:>3} {:>6} {:>6} {:<10} {:>10} {:>12} {:>7} {:>8}   {:>5} {:>5} {:>5} {:>5} {:>5}\n",
        "tp", "pp", "v", "dp", "micro", "recompute", "s/step", "tokens/s", "MFU %", "GB/GPU", "comp%", "tp%",
        "pp%", "wait%", "dp%");
    for (size_t i = 0; i < std::min(most, layouts.size()); ++i) {
        const auto& p = layouts[i];
        const auto& l = p.layout;
        const auto& b = p.breakdown;
        const auto share = [&](double seconds) { return 100 * seconds / p.seconds; };
        out += fmt::format(
            "{:>4} {:>4} {:>3} {:>6} {:>6} {:<10} {:>10.4g} {:>12.4g} {:>7.1f} {:>8.1f}   {:>5.1f} {:>5.1f} "
            "{:>5.1f} "
            "{:>5.1f} {:>5.1f}\n",
            l.tp, l.pp, l.virtual_stages, l.dp, l.micro_batch, to_string(l.recompute), p.seconds,
            p.tokens_per_second, 100 * p.mfu, p.memory.sum() * 1e-9, share(b.compute + b.optimizer),
            share(b.tensor), share(b.pipeline), share(b.bubble), share(b.data));
    }
    return out;
}

ordered_json to_json(const plan::Prediction& p) {
    const auto& l = p.layout;
    const auto& b = p.breakdown;
    const auto& m = p.memory;
    return {{"seconds", p.seconds},
            {"memory_bytes", static_cast<int64_t>(m.sum())},
            {"mfu", p.mfu},
            {"tokens_per_second", p.tokens_per_second},
            {"tp", l.tp},
            {"pp", l.pp},
            {"virtual_stages", l.virtual_stages},
            {"dp", l.dp},
            {"micro_batch", l.micro_batch},
            {"recompute", to_string(l.recompute)},
            {"breakdown",
             {{"compute", b.compute},
              {"tensor", b.tensor},
              {"pipeline", b.pipeline},
              {"bubble", b.bubble},
              {"data", b.data},
              {"optimizer", b.optimizer}}},
            {"memory",
             {{"weights", m.weights},
              {"gradients", m.gradients},
              {"optimizer", m.optimizer},
              {"activations", m.activations},
              {"logits", m.logits}}}};
}

ordered_json to_json(const std::vector<plan::Prediction>& layouts) {
    ordered_json out = ordered_json::array();
    for (const auto& p : layouts) out.push_back(to_json(p));
    return out;
}

}  // namespace espalier::jobs
