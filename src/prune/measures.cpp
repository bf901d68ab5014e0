#include "src/prune/measures.hpp"

namespace espalier::prune {
namespace {

/// Rows of a table, each as long as its layer is wide: `each` columns of one unit.
std::vector<std::vector<double>> rows_of(const UnitSums& units, const model::Architecture& a,
                                         AggregatorPair pair, int64_t model::LayerShape::*width,
                                         int64_t each = 1) {
    const auto values = units.scores(pair);
    std::vector<std::vector<double>> out;
    for (int64_t l = 0; l < units.rows(); ++l) {
        const auto row = values.begin() + l * units.columns();
        out.emplace_back(row, row + a.layers[l].*width * each);
    }
    return out;
}

/// 1 - the mean over tokens.
std::vector<double> influence(const std::vector<double>& cosine_sums, double tokens) {
    std::vector<double> out;
    for (const double c : cosine_sums) out.push_back(1.0 - c / tokens);
    return out;
}

std::vector<double> mean(const std::vector<double>& loss_sums, double tokens) {
    std::vector<double> out;
    for (const double l : loss_sums) out.push_back(l / tokens);
    return out;
}

}  // namespace

std::vector<double> sum_over_norms(const std::vector<double>& by_norm, int64_t hidden) {
    std::vector<double> out(static_cast<size_t>(hidden), 0.0);
    for (size_t i = 0; i < by_norm.size(); ++i) out[i % out.size()] += by_norm[i];
    return out;
}

DepthTable depth_table(const ScoreSums& sums, const PassOptions& measured) {
    DepthTable out;
    if (measured.influence) out.influence.layers = influence(sums.layer_cosine, sums.tokens);
    if (measured.block > 0) out.influence.blocks = influence(sums.block_cosine, sums.tokens);
    if (measured.loss_without) out.loss_without.layers = mean(sums.loss_without, sums.tokens);
    if (measured.loss_without_blocks) out.loss_without.blocks = mean(sums.loss_without_blocks, sums.tokens);
    out.block = measured.block;
    return out;
}

Scores scores_of(const ScoreSums& sums, const PassOptions& measured, const model::Architecture& a,
                 AggregatorPair pair) {
    using model::LayerShape;
    Scores out;
    out.neurons = rows_of(sums.neurons, a, pair, &LayerShape::ffn);
    out.heads = rows_of(sums.heads, a, pair, &LayerShape::query_heads);
    out.channels = sum_over_norms(sums.channels.scores(pair), a.hidden);
    out.depth = depth_table(sums, measured);
    out.head_dims = {rows_of(sums.queries, a, pair, &LayerShape::query_heads, a.head_dim),
                     rows_of(sums.keys, a, pair, &LayerShape::kv_heads, a.head_dim),
                     rows_of(sums.outputs, a, pair, &LayerShape::query_heads, a.head_dim)};
    return out;
}

}  // namespace espalier::prune
