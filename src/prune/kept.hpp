// What of a model stays, and the shape it leaves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "src/model/architecture.hpp"

namespace espalier::prune {

/// Dims of a head that stay in one KV group: of its queries and keys, and of its values. Ascending.
struct HeadDims {
    std::vector<int64_t> query_key, value;
};

/// Rotary pairs first, first + step, ... of a head: pair j is dims j and j + rotary_dim / 2. Their
/// frequencies are those of another base and a factor, so that a model of them needs no table of its own.
struct RotaryPairs {
    int64_t first = 0, step = 1, count = 0;
};

/// What a kept query head takes over from a dropped one of its group (docs/adr/0010-head-residuals.md).
enum class HeadResidual {
    off,
    paper,  ///< kept + (kept - dropped)
    laco,   ///< kept + (dropped - kept)
};
/// UserError naming --head-residual for an unknown name.
HeadResidual head_residual_from_string(const std::string& name);

struct HeadPair {
    int64_t kept, dropped;
    bool operator==(const HeadPair&) const = default;
};

/// Indices of the source that stay, ascending. Per kept layer: neurons, query heads, KV heads.
struct Kept {
    std::vector<int64_t> channels;
    std::vector<int64_t> layers;
    std::vector<std::vector<int64_t>> ffn, heads, kv_heads;
    std::vector<int64_t> vocab;
    /// [kept layer][kept KV head]; no layers where heads keep all their dims.
    std::vector<std::vector<HeadDims>> head_dims = {};
    RotaryPairs rotary = {};  ///< where head_dims has layers
    HeadResidual residual = HeadResidual::off;
    std::vector<std::vector<HeadPair>> pairs = {};  ///< [kept layer]; no layers without a residual
};

/// Everything, as a starting point.
Kept keep_all(const model::Architecture& a);

/// The architecture that is left.
model::Architecture shape(const model::Architecture& a, const Kept& kept);

}  // namespace espalier::prune
