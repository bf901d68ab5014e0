// Random scores for tiny models.
#pragma once

#include "src/prune/scores.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/support/compare.hpp"

namespace espalier::test {

inline std::vector<double> random_magnitudes(int64_t count, uint64_t seed) {
    auto out = random_values(count, seed);
    for (double& v : out) v = std::abs(v);
    return out;
}

inline prune::Scores tiny_scores(const model::Architecture& a, uint64_t seed) {
    prune::Scores s;
    for (const auto& l : a.layers) {
        s.neurons.push_back(random_magnitudes(l.ffn, seed++));
        s.heads.push_back(random_magnitudes(l.query_heads, seed++));
        s.head_dims.queries.push_back(random_magnitudes(l.query_heads * a.head_dim, seed++));
        s.head_dims.keys.push_back(random_magnitudes(l.kv_heads * a.head_dim, seed++));
        s.head_dims.outputs.push_back(random_magnitudes(l.query_heads * a.head_dim, seed++));
    }
    s.channels = random_magnitudes(a.hidden, seed++);
    s.depth.influence.layers = random_magnitudes(a.depth(), seed++);
    return s;
}

}  // namespace espalier::test
