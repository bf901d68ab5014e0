#include "src/prune/choose.hpp"

#include <algorithm>
#include <numeric>

#include "src/core/error.hpp"

namespace espalier::prune {
namespace {

std::vector<int64_t> all(int64_t count) {
    std::vector<int64_t> out(static_cast<size_t>(count));
    std::iota(out.begin(), out.end(), int64_t{0});
    return out;
}

void require_fewer(std::optional<int64_t> wanted, int64_t has, const char* option, const char* what,
                   const std::string& source) {
    if (!wanted) return;
    ESPALIER_REQUIRE(*wanted > 0, "{} {}: it must be at least 1", option, *wanted);
    ESPALIER_REQUIRE(*wanted <= has, "{} {}: {} has only {} {}, and pruning adds none; choose {} <= {}",
                     option, *wanted, source, has, what, option, has);
}

/// KV groups and the query heads in them that stay, of one layer.
void choose_heads(const std::vector<double>& scores, int64_t group, int64_t kv_heads, int64_t heads_each,
                  std::vector<int64_t>& heads, std::vector<int64_t>& groups) {
    const auto first = [&](int64_t g) { return scores.begin() + g * group; };
    std::vector<double> sums;
    for (int64_t g = 0; g < static_cast<int64_t>(scores.size()) / group; ++g)
        sums.push_back(std::accumulate(first(g), first(g + 1), 0.0));
    groups = best(sums, kv_heads);
    for (const int64_t g : groups) {
        for (const int64_t h : best({first(g), first(g + 1)}, heads_each)) heads.push_back(g * group + h);
    }
}

void check_heads(const Target& target, const model::LayerShape& layer, const std::string& source) {
    const int64_t group = layer.query_heads / layer.kv_heads, kv = target.kv_heads.value_or(layer.kv_heads);
    if (!target.heads && !target.kv_heads) return;
    const int64_t heads = target.heads.value_or(kv * group);
    if (heads % kv == 0 && heads / kv <= group) return;
    if (heads % kv != 0) {
        const int64_t below = heads / kv * kv, above = below + kv;
        fail(
            "{} has {} KV groups of {} query heads; --heads {} is not a multiple of --kv-heads {}.\n  choose "
            "--heads {}{}, or cut groups too: --kv-heads and --heads so that one divides the other",
            source, layer.kv_heads, group, heads, kv, below > 0 ? fmt::format("{} or ", below) : "", above);
    }
    fail(
        "{} has {} query heads in each KV group; --heads {} with --kv-heads {} would need {}.\n  choose "
        "--heads <= {}, or keep more groups",
        source, group, heads, kv, heads / kv, kv * group);
}

}  // namespace

Kept keep_all(const model::Architecture& a) {
    Kept kept{all(a.hidden), all(a.depth()), {}, {}, {}};
    for (const auto& l : a.layers) {
        kept.ffn.push_back(all(l.ffn));
        kept.heads.push_back(all(l.query_heads));
        kept.kv_heads.push_back(all(l.kv_heads));
    }
    return kept;
}

std::vector<int64_t> best(const std::vector<double>& scores, int64_t count) {
    auto order = all(static_cast<int64_t>(scores.size()));
    std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) {
        return scores[static_cast<size_t>(x)] > scores[static_cast<size_t>(y)];
    });
    order.resize(static_cast<size_t>(count));
    std::sort(order.begin(), order.end());
    return order;
}

Kept choose(const model::Architecture& a, const Scores* scores, const Target& target,
            const std::string& source) {
    ESPALIER_REQUIRE(
        scores || !target.cuts_width(),
        "cutting widths needs scores: give --importance I.h5, made by `espalier importance --model {}`",
        source);
    require_fewer(target.hidden, a.hidden, "--hidden", "channels", source);
    require_fewer(target.depth.layers, a.depth(), "--layers", "layers", source);
    for (const auto& l : a.layers) {
        require_fewer(target.heads, l.query_heads, "--heads", "query heads", source);
        require_fewer(target.kv_heads, l.kv_heads, "--kv-heads", "KV heads", source);
        require_fewer(target.ffn, l.ffn, "--ffn", "neurons in a layer", source);
        check_heads(target, l, source);
    }
    Kept kept = keep_all(a);
    kept.layers = layers_to_keep(a.depth(), scores ? &scores->depth : nullptr, target.depth, source);
    if (target.hidden) kept.channels = best(scores->channels, *target.hidden);
    kept.ffn.clear();
    kept.heads.clear();
    kept.kv_heads.clear();
    for (const int64_t l : kept.layers) {
        const auto at = static_cast<size_t>(l);
        const auto& width = a.layers[at];
        kept.ffn.push_back(target.ffn ? best(scores->neurons[at], *target.ffn) : all(width.ffn));
        auto& heads = kept.heads.emplace_back();
        auto& groups = kept.kv_heads.emplace_back();
        if (!target.heads && !target.kv_heads) {
            heads = all(width.query_heads);
            groups = all(width.kv_heads);
            continue;
        }
        const int64_t kv = target.kv_heads.value_or(width.kv_heads), group = a.group(l);
        choose_heads(scores->heads[at], group, kv, target.heads.value_or(kv * group) / kv, heads, groups);
    }
    return kept;
}

model::Architecture shape(const model::Architecture& a, const Kept& kept) {
    model::Architecture out = a;
    out.hidden = static_cast<int64_t>(kept.channels.size());
    out.layers.clear();
    for (size_t k = 0; k < kept.layers.size(); ++k) {
        out.layers.push_back({static_cast<int64_t>(kept.heads[k].size()),
                              static_cast<int64_t>(kept.kv_heads[k].size()),
                              static_cast<int64_t>(kept.ffn[k].size())});
    }
    return out;
}

}  // namespace espalier::prune
