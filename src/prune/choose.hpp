// Which units of a model stay: a pure function of its shape, its scores and the target.
#pragma once

#include "src/core/exact.hpp"
#include "src/prune/depth.hpp"
#include "src/prune/kept.hpp"

namespace espalier::prune {

/// Widths asked for; what is absent stays as it is.
struct Target {
    std::optional<int64_t> hidden = {}, heads = {}, kv_heads = {}, ffn = {}, head_dim = {};
    DepthTarget depth = {};
    HeadResidual residual = HeadResidual::off;
    bool cuts_width() const { return hidden || heads || kv_heads || ffn || head_dim; }
    bool cuts_depth() const { return depth.layers || !depth.drop.empty(); }
};

/// Throws UserError where the target exceeds the model or its heads do not fit its groups.
void check_target(const model::Architecture& a, const Target& target, const std::string& source);

/// Per layer the best neurons, and inside each KV group the best query heads; with fewer KV heads, the groups
/// with the largest sum of their heads' scores; over the whole network the best channels; layers as depth.hpp
/// says, dims of heads as head_dim.hpp says. Throws UserError as check_target() does; `scores` may be null
/// for a list of layers alone. `source` names the model in messages.
Kept choose(const model::Architecture& a, const Scores* scores, const Target& target,
            const std::string& source);

}  // namespace espalier::prune
