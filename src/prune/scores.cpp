#include "src/prune/scores.hpp"

#include <cmath>

#include "src/core/error.hpp"

namespace espalier::prune {
namespace {

void check_row(const std::vector<double>& row, int64_t expected, const char* what, int64_t layer,
               const std::string& source) {
    ESPALIER_REQUIRE(static_cast<int64_t>(row.size()) == expected,
                     "{}: {} scores of layer {}: {} values, the model has {}", source, what, layer,
                     row.size(), expected);
    for (const double v : row)
        ESPALIER_REQUIRE(std::isfinite(v), "{}: {} scores of layer {} hold a value that is not finite",
                         source, what, layer);
}

}  // namespace

void check(const Scores& scores, const model::Architecture& a, const std::string& source) {
    ESPALIER_REQUIRE(static_cast<int64_t>(scores.neurons.size()) == a.depth() &&
                         static_cast<int64_t>(scores.heads.size()) == a.depth(),
                     "{}: scores of {} layers, the model has {}", source, scores.neurons.size(), a.depth());
    for (int64_t l = 0; l < a.depth(); ++l) {
        const auto& shape = a.layers[l];
        check_row(scores.neurons[l], shape.ffn, "ffn", l, source);
        check_row(scores.heads[l], shape.query_heads, "head", l, source);
    }
    const auto& dims = scores.head_dims;
    ESPALIER_REQUIRE(
        dims.keys.size() == dims.queries.size() && dims.outputs.size() == dims.queries.size() &&
            std::ssize(dims.queries) <= a.depth(),
        "{}: scores of the dims of heads: {} layers of queries, {} of keys and {} of outputs, the "
        "model has {}",
        source, dims.queries.size(), dims.keys.size(), dims.outputs.size(), a.depth());
    for (int64_t l = 0; l < static_cast<int64_t>(dims.queries.size()); ++l) {
        const auto at = static_cast<size_t>(l);
        const auto& shape = a.layers[at];
        check_row(dims.queries[at], shape.query_heads * a.head_dim, "query", l, source);
        check_row(dims.keys[at], shape.kv_heads * a.head_dim, "key", l, source);
        check_row(dims.outputs[at], shape.query_heads * a.head_dim, "head output", l, source);
    }
    check_row(scores.channels, a.hidden, "channel", -1, source);
    const auto& d = scores.depth;
    ESPALIER_REQUIRE(d.block >= 0 && d.block <= a.depth(),
                     "{}: scores of blocks of {} layers, the model has {}", source, d.block, a.depth());
    for (const auto* measure : {&d.influence, &d.loss_without, &d.accuracy_without}) {
        if (!measure->layers.empty()) check_row(measure->layers, a.depth(), "depth", -1, source);
        if (!measure->blocks.empty())
            check_row(measure->blocks, a.depth() - d.block + 1, "depth block", -1, source);
    }
}

}  // namespace espalier::prune
