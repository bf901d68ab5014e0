#include "src/prune/head_dim.hpp"

#include <algorithm>
#include <cmath>

#include "src/core/error.hpp"
#include "src/core/exact.hpp"
#include "src/prune/ranking.hpp"

namespace espalier::prune {
namespace {

/// Turned dims of a cut head: the same part of it as of the source's.
int64_t rotary_dim_of(const model::Architecture& a, int64_t head_dim, const std::string& source) {
    const auto fits = [&](int64_t d) {
        return d * a.rotary_dim % a.head_dim == 0 && d * a.rotary_dim / a.head_dim % 2 == 0;
    };
    if (fits(head_dim)) return head_dim * a.rotary_dim / a.head_dim;
    int64_t below = head_dim, above = head_dim;
    while (below > 0 && !fits(below)) --below;
    while (above < a.head_dim && !fits(above)) ++above;
    fail(
        "--head-dim {}: {} turns {} of {} dims of a head by their position, in pairs; of {} dims the same "
        "part "
        "is not an even number.\n  choose --head-dim {}{}",
        head_dim, source, a.rotary_dim, a.head_dim, head_dim, below > 0 ? fmt::format("{} or ", below) : "",
        above);
}

/// Scores of one KV group of a layer.
struct Group {
    std::vector<double> query_key;  ///< [head_dim]
    std::vector<double> value;      ///< [head_dim]
};

Group group_scores(const model::Architecture& a, const HeadDimScores& scores, const Kept& kept, size_t k,
                   int64_t kv_head) {
    const auto layer = static_cast<size_t>(kept.layers[k]);
    const int64_t dims = a.head_dim, group = a.group(kept.layers[k]);
    std::vector<double> queries(static_cast<size_t>(dims), 0.0), outputs = queries;
    for (const int64_t h : kept.heads[k]) {
        if (h / group != kv_head) continue;
        for (int64_t d = 0; d < dims; ++d) {
            queries[d] += scores.queries[layer][h * dims + d];
            outputs[d] += scores.outputs[layer][h * dims + d];
        }
    }
    const double* keys = scores.keys[layer].data() + kv_head * dims;
    const int64_t half = a.rotary_dim / 2;
    Group out{queries, outputs};
    for (int64_t d = 0; d < dims; ++d) out.query_key[d] *= keys[d];
    // A pair turns as a whole: the norm of its two dims, of queries and of keys. It stands at its first dim.
    for (int64_t j = 0; j < half; ++j) {
        out.query_key[j] = std::hypot(queries[j], queries[j + half]) * std::hypot(keys[j], keys[j + half]);
    }
    return out;
}

/// The best evenly spaced pairs; of equal ones the first found, by first pair, then by step.
RotaryPairs best_pairs(const std::vector<double>& scores, int64_t count, bool from_any) {
    RotaryPairs out{0, 1, count};
    if (count == 0) return out;
    double most = -1;  // scores are not negative
    const auto pairs = static_cast<int64_t>(scores.size());
    for (int64_t first = 0; first < (from_any ? pairs : 1); ++first) {
        for (int64_t step = 1; first + step * (count - 1) < pairs; ++step) {
            double sum = 0;
            for (int64_t j = 0; j < count; ++j) sum += scores[first + step * j];
            if (sum > most) {
                most = sum;
                out = {first, step, count};
            }
            if (count == 1) break;
        }
    }
    return out;
}

}  // namespace

void choose_head_dims(const model::Architecture& a, const HeadDimScores& scores, int64_t head_dim,
                      const std::string& source, Kept& kept) {
    ESPALIER_REQUIRE(
        !scores.queries.empty(),
        "--head-dim {}: the importance file holds no scores of the dims of heads; score again with "
        "`espalier importance --head-dims`",
        head_dim);
    ESPALIER_REQUIRE(
        a.rotary_scaling.kind != model::RotaryScaling::Kind::yarn,
        "--head-dim {}: {} stretches its rotary embedding by yarn, whose ramp counts the pairs of a "
        "head; there is none for fewer that gives those that stay their frequencies",
        head_dim, source);
    const int64_t rotary_dim = rotary_dim_of(a, head_dim, source), half = a.rotary_dim / 2;
    std::vector<std::vector<Group>> groups(kept.layers.size());
    std::vector<double> pairs(static_cast<size_t>(half), 0.0);
    for (size_t k = 0; k < kept.layers.size(); ++k) {
        for (const int64_t g : kept.kv_heads[k]) {
            groups[k].push_back(group_scores(a, scores, kept, k, g));
            for (size_t j = 0; j < pairs.size(); ++j) pairs[j] += groups[k].back().query_key[j];
        }
    }
    // llama3's scaling is a function of a frequency and goes on as it is; a factor beside it has no place.
    const bool from_any = a.rotary_scaling.kind != model::RotaryScaling::Kind::llama3;
    kept.rotary = best_pairs(pairs, rotary_dim / 2, from_any);
    kept.head_dims.resize(kept.layers.size());
    for (size_t k = 0; k < kept.layers.size(); ++k) {
        for (const Group& group : groups[k]) {
            HeadDims dims;
            for (const int64_t from : {int64_t{0}, half}) {
                for (int64_t j = 0; j < kept.rotary.count; ++j)
                    dims.query_key.push_back(from + kept.rotary.first + kept.rotary.step * j);
            }
            const std::vector<double> still(group.query_key.begin() + a.rotary_dim, group.query_key.end());
            for (const int64_t d : best(still, head_dim - rotary_dim))
                dims.query_key.push_back(a.rotary_dim + d);
            dims.value = best(group.value, head_dim);
            kept.head_dims[k].push_back(std::move(dims));
        }
    }
}

}  // namespace espalier::prune
