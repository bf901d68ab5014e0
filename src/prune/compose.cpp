#include "src/prune/compose.hpp"

#include <algorithm>

namespace espalier::prune {
namespace {

std::vector<int64_t> through(const std::vector<int64_t>& first, const std::vector<int64_t>& next) {
    std::vector<int64_t> out;
    for (const int64_t i : next) out.push_back(first[i]);
    return out;
}

/// Query heads of a KV group, in the layer that has the fewest.
int64_t smallest_group(const model::Architecture& a) {
    const auto of = [](const model::LayerShape& l) { return l.query_heads / l.kv_heads; };
    const auto fewer = [&](const auto& x, const auto& y) { return of(x) < of(y); };
    return of(*std::min_element(a.layers.begin(), a.layers.end(), fewer));
}

}  // namespace

Kept compose(const Kept& first, const Kept& next) {
    Kept out{through(first.channels, next.channels), through(first.layers, next.layers), {}, {}, {},
             through(first.vocab, next.vocab)};
    for (size_t k = 0; k < next.layers.size(); ++k) {
        const auto at = static_cast<size_t>(next.layers[k]);
        out.ffn.push_back(through(first.ffn[at], next.ffn[k]));
        out.heads.push_back(through(first.heads[at], next.heads[k]));
        out.kv_heads.push_back(through(first.kv_heads[at], next.kv_heads[k]));
    }
    return out;
}

Target step_target(const model::Architecture& source, const Target& target, int64_t step, int64_t steps) {
    if (step == steps) return target;
    Target out = target;
    const auto towards = [&](std::optional<int64_t>& wanted, int64_t has) {
        if (wanted) wanted = has - (2 * step * (has - *wanted) + steps) / (2 * steps);
    };
    towards(out.hidden, source.hidden);
    // No target may exceed the narrowest layer's width.
    towards(out.ffn, narrowest(source, &model::LayerShape::ffn));
    towards(out.depth.layers, source.depth());
    if (target.heads || target.kv_heads) {
        const int64_t kv = narrowest(source, &model::LayerShape::kv_heads);
        const int64_t last_kv = target.kv_heads.value_or(kv);
        std::optional<int64_t> each = target.heads ? std::optional(*target.heads / last_kv) : std::nullopt;
        towards(out.kv_heads, kv);
        towards(each, smallest_group(source));
        if (each) out.heads = *each * out.kv_heads.value_or(kv);
    }
    return out;
}

}  // namespace espalier::prune
