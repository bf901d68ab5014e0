#include "src/prune/kept.hpp"

#include <algorithm>
#include <cmath>

#include "src/core/names.hpp"
#include "src/prune/ranking.hpp"

namespace espalier::prune {
namespace {

constexpr std::array residual_names{Named{HeadResidual::off, "off"}, Named{HeadResidual::paper, "paper"},
                                    Named{HeadResidual::laco, "laco"}};

/// The frequencies base^(-2 (first + step j) / rotary_dim) of the kept pairs are those of a smaller table
/// with base^(step count / (rotary_dim / 2)), divided by base^(2 first / rotary_dim).
void keep_pairs(model::Architecture& a, const RotaryPairs& pairs) {
    const auto dim = static_cast<double>(a.rotary_dim);
    const double base = a.rotary_base;
    a.rotary_dim = 2 * pairs.count;
    a.rotary_base = std::pow(base, static_cast<double>(2 * pairs.step * pairs.count) / dim);
    if (pairs.first == 0) return;
    auto& scaling = a.rotary_scaling;
    scaling.kind = model::RotaryScaling::Kind::linear;
    scaling.factor *= std::pow(base, static_cast<double>(2 * pairs.first) / dim);
}

/// Where a token is among those that stay.
std::optional<int64_t> new_id(const std::optional<int64_t>& id, const std::vector<int64_t>& vocab) {
    if (!id) return id;
    const auto at = std::lower_bound(vocab.begin(), vocab.end(), *id);
    return at != vocab.end() && *at == *id ? std::optional<int64_t>(at - vocab.begin()) : std::nullopt;
}

}  // namespace

HeadResidual head_residual_from_string(const std::string& name) {
    const auto residual = value_of(residual_names, name);
    ESPALIER_REQUIRE(residual,
                     "--head-residual {}: choose off, paper (kept + (kept - dropped)) or laco (kept + "
                     "(dropped - kept))",
                     name);
    return *residual;
}

Kept keep_all(const model::Architecture& a) {
    Kept kept{first_of(a.hidden), first_of(a.depth()), {}, {}, {}, first_of(a.vocab)};
    for (const auto& l : a.layers) {
        kept.ffn.push_back(first_of(l.ffn));
        kept.heads.push_back(first_of(l.query_heads));
        kept.kv_heads.push_back(first_of(l.kv_heads));
    }
    return kept;
}

model::Architecture shape(const model::Architecture& a, const Kept& kept) {
    model::Architecture out = a;
    out.hidden = static_cast<int64_t>(kept.channels.size());
    out.vocab = static_cast<int64_t>(kept.vocab.size());
    auto& ids = out.conventions;
    for (auto* id : {&ids.bos, &ids.pad}) *id = new_id(*id, kept.vocab);
    ids.eos.clear();
    for (const int64_t end : a.conventions.eos) {
        if (const auto id = new_id(end, kept.vocab)) ids.eos.push_back(*id);
    }
    if (!kept.head_dims.empty()) {
        out.head_dim = static_cast<int64_t>(kept.head_dims.front().front().value.size());
        if (a.rotary_dim > 0) keep_pairs(out, kept.rotary);
    }
    out.layers.clear();
    for (size_t k = 0; k < kept.layers.size(); ++k) {
        out.layers.push_back({static_cast<int64_t>(kept.heads[k].size()),
                              static_cast<int64_t>(kept.kv_heads[k].size()),
                              static_cast<int64_t>(kept.ffn[k].size()), a.layers[kept.layers[k]].window});
    }
    return out;
}

}  // namespace espalier::prune
