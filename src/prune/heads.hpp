// Which query heads and KV groups of a layer stay, and which kept head takes over from which dropped one.
#pragma once

#include "src/prune/kept.hpp"

namespace espalier::prune {

/// Throws UserError, with the nearest numbers that do, where `heads` query heads do not fit `kv_heads`
/// groups, or where the residual is undefined: inside a group of L heads of which K stay, L <= 2 K must hold,
/// and whole groups that go have no partner. Where each query head has its own KV head, all heads are one
/// group.
void check_heads(const model::LayerShape& layer, std::optional<int64_t> heads,
                 std::optional<int64_t> kv_heads, HeadResidual residual, const std::string& source);

struct ChosenHeads {
    std::vector<int64_t> query, kv;  ///< ascending
    std::vector<HeadPair> pairs;     ///< by kept head, ascending
};

/// The best query heads of the best groups. With a residual, of a group's heads in the order of their scores,
/// i = 1 .. L, head i <= K is paired with head 2 K - i + 1 where there is one: the last that stays with the
/// first that goes (Muralidharan et al. 2024, section 2.3).
ChosenHeads choose_heads(const std::vector<double>& scores, const model::LayerShape& layer,
                         std::optional<int64_t> heads, std::optional<int64_t> kv_heads,
                         HeadResidual residual);

}  // namespace espalier::prune
