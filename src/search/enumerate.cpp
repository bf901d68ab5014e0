#include "src/search/enumerate.hpp"

#include <limits>

#include "src/core/error.hpp"
#include "src/model/loadable.hpp"

namespace espalier::search {

std::vector<Candidate> enumerate(const model::Architecture& a, const Space& space, const Budget& budget,
                                 const Use& use, Loaders loaders) {
    const auto all = shapes(complete(space, a), a);
    std::vector<Candidate> out;
    std::optional<Candidate> nearest;
    double least = std::numeric_limits<double>::infinity();
    int64_t tried = 0;
    for (const auto& shape : all) {
        const auto model = with_shape(a, shape);
        const Candidate c{shape, cost(model, use), model::loadable(model).family};
        if (loaders == Loaders::required && !c.loads_as) continue;
        ++tried;
        const double miss = excess(c.cost, budget);
        if (miss == 0) out.push_back(c);
        if (miss < least) {
            least = miss;
            nearest = c;
        }
    }
    ESPALIER_REQUIRE(nearest,
                     "no shape that the lists allow {}; the KV heads must divide the heads, and neither "
                     "heads of a group nor neurons can grow.\n  give other lists: --heads --kv-heads --ffn "
                     "--ffn-ratio --hidden --layers",
                     all.empty() ? "is a cut of the model" : "loads elsewhere (--loadable-only)");
    ESPALIER_REQUIRE(!out.empty(),
                     "none of {} shapes is within the budget of {}; the nearest is {}: {}\n  widen the "
                     "budget, or give other lists: --layers --hidden --heads --kv-heads --ffn --ffn-ratio",
                     tried, to_string(budget), to_string(nearest->shape), to_string(nearest->cost));
    return out;
}

}  // namespace espalier::search
