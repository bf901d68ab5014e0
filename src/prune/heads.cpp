#include "src/prune/heads.hpp"

#include <algorithm>
#include <numeric>

#include "src/core/error.hpp"
#include "src/core/exact.hpp"
#include "src/prune/ranking.hpp"

namespace espalier::prune {
namespace {

/// Adds, for the heads first .. first + scores.size() - 1 of which the best `keep` stay, who takes over from
/// whom.
void pair_up(const std::vector<double>& scores, int64_t first, int64_t keep, std::vector<HeadPair>& pairs) {
    const auto order = ranked(scores);
    for (int64_t dropped = keep; dropped < static_cast<int64_t>(order.size()); ++dropped) {
        const int64_t kept = 2 * keep - 1 - dropped;
        pairs.push_back({first + order[kept], first + order[dropped]});
    }
}

/// Where each query head has a KV head to itself, a head is query, key and value, and all heads one group.
bool separate_heads(const model::LayerShape& layer) {
    return layer.query_heads == layer.kv_heads;
}

void check_residual(const model::LayerShape& layer, int64_t heads, int64_t kv_heads,
                    const std::string& source) {
    const bool separate = separate_heads(layer);
    ESPALIER_REQUIRE(
        separate || kv_heads == layer.kv_heads,
        "--head-residual pairs query heads inside a KV group; --kv-heads {} drops whole groups of "
        "{}, whose heads have no partner.\n  keep all {} groups, or choose --head-residual off",
        kv_heads, source, layer.kv_heads);
    const int64_t groups = separate ? 1 : layer.kv_heads, has = layer.query_heads / groups,
                  keeps = heads / groups;
    ESPALIER_REQUIRE(has <= 2 * keeps,
                     "--head-residual: {} has {} query heads in a group and --heads {} keeps {}; a kept head "
                     "takes over from one dropped head, so at least half must stay.\n  choose --heads >= {}, "
                     "or --head-residual off",
                     source, has, heads, keeps, div_ceil(has, int64_t{2}) * groups);
}

}  // namespace

void check_heads(const model::LayerShape& layer, std::optional<int64_t> wanted,
                 std::optional<int64_t> kv_wanted, HeadResidual residual, const std::string& source) {
    if (!wanted && !kv_wanted) return;
    const int64_t group = layer.query_heads / layer.kv_heads, kv = kv_wanted.value_or(layer.kv_heads),
                  heads = wanted.value_or(kv * group);
    if (heads % kv != 0) {
        const int64_t below = heads / kv * kv, above = below + kv;
        fail(
            "{} has {} KV groups of {} query heads; --heads {} is not a multiple of --kv-heads {}.\n  choose "
            "--heads {}{}, or cut groups too: --kv-heads and --heads so that one divides the other",
            source, layer.kv_heads, group, heads, kv, below > 0 ? fmt::format("{} or ", below) : "", above);
    }
    ESPALIER_REQUIRE(
        heads / kv <= group,
        "{} has {} query heads in each KV group; --heads {} with --kv-heads {} would need {}.\n  choose "
        "--heads <= {}, or keep more groups",
        source, group, heads, kv, heads / kv, kv * group);
    if (residual != HeadResidual::off) check_residual(layer, heads, kv, source);
}

ChosenHeads choose_heads(const std::vector<double>& scores, const model::LayerShape& layer,
                         std::optional<int64_t> heads, std::optional<int64_t> kv_heads,
                         HeadResidual residual) {
    const int64_t group = div_exact(layer.query_heads, layer.kv_heads),
                  kv = kv_heads.value_or(layer.kv_heads), each = heads.value_or(kv * group) / kv;
    const auto of_group = [&](int64_t g) {
        const auto first = scores.begin() + g * group;
        return std::vector<double>(first, first + group);
    };
    std::vector<double> sums;
    for (int64_t g = 0; g < layer.kv_heads; ++g) {
        const auto own = of_group(g);
        sums.push_back(std::accumulate(own.begin(), own.end(), 0.0));
    }
    ChosenHeads out;
    out.kv = best(sums, kv);
    for (const int64_t g : out.kv) {
        for (const int64_t h : best(of_group(g), each)) out.query.push_back(g * group + h);
        if (residual != HeadResidual::off && !separate_heads(layer))
            pair_up(of_group(g), g * group, each, out.pairs);
    }
    if (residual != HeadResidual::off && separate_heads(layer)) pair_up(scores, 0, kv * each, out.pairs);
    std::sort(out.pairs.begin(), out.pairs.end(),
              [](const HeadPair& a, const HeadPair& b) { return a.kept < b.kept; });
    return out;
}

}  // namespace espalier::prune
