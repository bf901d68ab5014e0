// What a training step computes again instead of keeping it.
#pragma once

#include "src/core/names.hpp"

namespace espalier::model {

/// What of a forward pass is kept for the backward pass, and what is computed again (Korthikanti et al.,
/// arXiv 2205.05198).
enum class Recompute {
    none,       ///< nothing is computed again
    selective,  ///< norms and activations are: cheap to compute, as large as all the rest
    full,       ///< each layer is, from its input
};
inline constexpr std::array recompute_names{
    Named{Recompute::none, "none"}, Named{Recompute::selective, "selective"}, Named{Recompute::full, "full"}};

inline std::string_view to_string(Recompute recompute) {
    return name_of(recompute_names, recompute);
}
/// Throws UserError naming `option`.
inline Recompute recompute_from_string(std::string_view name, const char* option) {
    return chosen(recompute_names, name, option);
}

}  // namespace espalier::model
