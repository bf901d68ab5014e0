// The shapes of a space that are within a budget.
#pragma once

#include "src/search/budget.hpp"
#include "src/search/space.hpp"

namespace espalier::search {

struct Candidate {
    ModelShape shape;
    Cost cost;
    /// The family under which transformers loads the shape; nothing where it loads under none.
    std::optional<model::Family> loads_as;
};

/// Whether shapes that nobody else loads count.
enum class Loaders { any, required };

/// Sorted by shape. Empty lists of `space` are derived from the model. Throws UserError where no shape is
/// within the budget, with the one that misses it by least and what that costs.
std::vector<Candidate> enumerate(const model::Architecture& a, const Space& space, const Budget& budget,
                                 const Use& use, Loaders loaders);

}  // namespace espalier::search
