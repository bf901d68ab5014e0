#include "src/prune/scores.hpp"

#include <cmath>

#include "src/core/error.hpp"
#include "src/prune/scoring_pass.hpp"

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

/// Rows of a table, each as long as its layer is wide.
std::vector<std::vector<double>> rows_of(const UnitSums& units, const model::Architecture& a,
                                         AggregatorPair pair, int64_t samples,
                                         int64_t model::LayerShape::*width) {
    const auto values = units.scores(pair, samples);
    std::vector<std::vector<double>> out;
    for (int64_t l = 0; l < units.rows(); ++l) {
        const auto row = values.begin() + l * units.columns();
        out.emplace_back(row, row + a.layers[static_cast<size_t>(l)].*width);
    }
    return out;
}

}  // namespace

Scores scores_of(const ScoreSums& sums, const PassOptions& measured, const model::Architecture& a,
                 AggregatorPair pair) {
    const auto samples = static_cast<int64_t>(sums.samples);
    Scores out;
    out.neurons = rows_of(sums.neurons, a, pair, samples, &model::LayerShape::ffn);
    out.heads = rows_of(sums.heads, a, pair, samples, &model::LayerShape::query_heads);
    const auto by_norm = sums.channels.scores(pair, samples);
    out.channels.assign(static_cast<size_t>(a.hidden), 0.0);
    for (size_t i = 0; i < by_norm.size(); ++i) out.channels[i % out.channels.size()] += by_norm[i];
    if (measured.influence) {
        for (const double c : sums.layer_cosine) out.depth.influence.layers.push_back(1.0 - c / sums.tokens);
    }
    if (measured.loss_without) {
        for (const double l : sums.loss_without) out.depth.loss_without.layers.push_back(l / sums.tokens);
    }
    return out;
}

void check(const Scores& scores, const model::Architecture& a, const std::string& source) {
    ESPALIER_REQUIRE(static_cast<int64_t>(scores.neurons.size()) == a.depth() &&
                         static_cast<int64_t>(scores.heads.size()) == a.depth(),
                     "{}: scores of {} layers, the model has {}", source, scores.neurons.size(), a.depth());
    for (int64_t l = 0; l < a.depth(); ++l) {
        const auto& shape = a.layers[static_cast<size_t>(l)];
        check_row(scores.neurons[static_cast<size_t>(l)], shape.ffn, "ffn", l, source);
        check_row(scores.heads[static_cast<size_t>(l)], shape.query_heads, "head", l, source);
    }
    const auto& dims = scores.head_dims;
    for (int64_t l = 0; l < static_cast<int64_t>(dims.queries.size()); ++l) {
        const auto at = static_cast<size_t>(l);
        const auto& shape = a.layers[at];
        check_row(dims.queries[at], shape.query_heads * a.head_dim, "query", l, source);
        check_row(dims.keys[at], shape.kv_heads * a.head_dim, "key", l, source);
        check_row(dims.outputs[at], shape.query_heads * a.head_dim, "head output", l, source);
    }
    check_row(scores.channels, a.hidden, "channel", -1, source);
    const auto& d = scores.depth;
    for (const auto* measure : {&d.influence, &d.loss_without, &d.accuracy_without}) {
        if (!measure->layers.empty()) check_row(measure->layers, a.depth(), "depth", -1, source);
        if (!measure->blocks.empty())
            check_row(measure->blocks, a.depth() - d.block + 1, "depth block", -1, source);
    }
}

}  // namespace espalier::prune
