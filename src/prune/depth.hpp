// Which layers stay.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "src/prune/scores.hpp"

namespace espalier::prune {

/// What a layer is judged by: block influence, the loss or the accuracy without it.
enum class DepthBy { influence, loss, accuracy };
/// bi, ppl, task; UserError naming --depth-by for anything else.
DepthBy depth_by_from_string(const std::string& name);

/// Whether the layers that go are any, each judged alone, or one contiguous block judged as a whole.
enum class DepthStyle { scattered, contiguous };

struct DepthTarget {
    std::optional<int64_t> layers = {};  ///< how many stay
    std::vector<int64_t> drop = {};      ///< exactly these go; not together with layers
    DepthBy by = DepthBy::influence;
    DepthStyle style = DepthStyle::scattered;
};

/// Layers that stay, ascending. Of equal ones the lower stay. Throws UserError when the scores needed were
/// not measured; `scores` may be null for a drop list.
std::vector<int64_t> layers_to_keep(int64_t depth, const DepthTable* scores, const DepthTarget& target,
                                    const std::string& source);

/// "16-31,3": layer numbers and ranges; UserError naming the option for anything else.
std::vector<int64_t> parse_layers(const std::string& text, int64_t depth);

}  // namespace espalier::prune
