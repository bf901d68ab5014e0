#include "src/prune/choose.hpp"

#include <algorithm>
#include <numeric>

#include "src/core/error.hpp"
#include "src/prune/head_dim.hpp"
#include "src/prune/heads.hpp"
#include "src/prune/ranking.hpp"

namespace espalier::prune {
namespace {

void require_fewer(std::optional<int64_t> wanted, int64_t has, const char* option, const char* what,
                   const std::string& source) {
    if (!wanted) return;
    ESPALIER_REQUIRE(*wanted > 0, "{} {}: it must be at least 1", option, *wanted);
    ESPALIER_REQUIRE(*wanted <= has, "{} {}: {} has only {} {}, and pruning adds none; choose {} <= {}",
                     option, *wanted, source, has, what, option, has);
}

}  // namespace

void check_target(const model::Architecture& a, const Target& target, const std::string& source) {
    require_fewer(target.hidden, a.hidden, "--hidden", "channels", source);
    require_fewer(target.depth.layers, a.depth(), "--layers", "layers", source);
    require_fewer(target.head_dim, a.head_dim, "--head-dim", "dims in a head", source);
    ESPALIER_REQUIRE(target.residual == HeadResidual::off || target.heads,
                     "--head-residual: no query heads go; give --heads, or --head-residual off");
    ESPALIER_REQUIRE(
        target.residual != HeadResidual::paper || !a.qk_norm_eps,
        "--head-residual paper: {} norms each query head behind its weights, and the sum of two heads' "
        "weights is no sum of their scores there.\n  choose laco, which hands on the dropped head's queries, "
        "or off",
        source);
    for (const auto& l : a.layers) {
        require_fewer(target.heads, l.query_heads, "--heads", "query heads", source);
        require_fewer(target.kv_heads, l.kv_heads, "--kv-heads", "KV heads", source);
        require_fewer(target.ffn, l.ffn, "--ffn", "neurons in a layer", source);
        check_heads(l, target.heads, target.kv_heads, target.residual, source);
    }
}

Kept choose(const model::Architecture& a, const Scores* scores, const Target& target,
            const std::string& source) {
    ESPALIER_REQUIRE(
        scores || !target.cuts_width(),
        "cutting widths needs scores: give --importance I.h5, made by `espalier importance --model {}`",
        source);
    check_target(a, target, source);
    Kept kept = keep_all(a);
    kept.layers = layers_to_keep(a.depth(), scores ? &scores->depth : nullptr, target.depth, source);
    if (target.hidden) kept.channels = best(scores->channels, *target.hidden);
    kept.ffn.clear();
    kept.heads.clear();
    kept.kv_heads.clear();
    kept.residual = target.residual;
    for (const int64_t l : kept.layers) {
        const auto at = static_cast<size_t>(l);
        const auto& width = a.layers[at];
        kept.ffn.push_back(target.ffn ? best(scores->neurons[at], *target.ffn) : first_of(width.ffn));
        if (!target.heads && !target.kv_heads) {
            kept.heads.push_back(first_of(width.query_heads));
            kept.kv_heads.push_back(first_of(width.kv_heads));
            continue;
        }
        auto heads = choose_heads(scores->heads[at], width, target.heads, target.kv_heads, target.residual);
        kept.heads.push_back(std::move(heads.query));
        kept.kv_heads.push_back(std::move(heads.kv));
        if (target.residual != HeadResidual::off) kept.pairs.push_back(std::move(heads.pairs));
    }
    if (target.head_dim && *target.head_dim < a.head_dim)
        choose_head_dims(a, scores->head_dims, *target.head_dim, source, kept);
    return kept;
}

}  // namespace espalier::prune
