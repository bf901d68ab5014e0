// Which units of a model stay: a pure function of its shape, its scores and the target.
#pragma once

#include <optional>
#include <vector>

#include "src/core/exact.hpp"
#include "src/prune/depth.hpp"

namespace espalier::prune {

/// Widths asked for; what is absent stays as it is.
struct Target {
    std::optional<int64_t> hidden = {}, heads = {}, kv_heads = {}, ffn = {};
    DepthTarget depth = {};
    bool cuts_width() const { return hidden || heads || kv_heads || ffn; }
    bool cuts_depth() const { return depth.layers || !depth.drop.empty(); }
};

/// Indices of the source that stay, ascending. Per kept layer: neurons, query heads, KV heads.
struct Kept {
    std::vector<int64_t> channels;
    std::vector<int64_t> layers;
    std::vector<std::vector<int64_t>> ffn, heads, kv_heads;
};

/// Everything, as a starting point.
Kept keep_all(const model::Architecture& a);

/// The best `count` of scores, ascending; of equal ones the lower indices.
std::vector<int64_t> best(const std::vector<double>& scores, int64_t count);

/// Per layer the best neurons, and inside each KV group the best query heads; with fewer KV heads, the groups
/// with the largest sum of their heads' scores; over the whole network the best channels; layers as depth.hpp
/// says. Throws UserError when the target exceeds the model or its heads do
/// not fit its groups; `scores` may be null for a list of layers alone. `source` names the model in messages.
Kept choose(const model::Architecture& a, const Scores* scores, const Target& target,
            const std::string& source);

/// The architecture that is left.
model::Architecture shape(const model::Architecture& a, const Kept& kept);

}  // namespace espalier::prune
