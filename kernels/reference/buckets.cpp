#include "kernels/reference/buckets.hpp"

#include <numeric>
#include <utility>

#include "kernels/reference/top_k.hpp"

namespace espalier::reference {
namespace {

/// Probabilities of the tokens `ids`, and of all others together where there are any.
Values buckets(Values p, const std::vector<int64_t>& ids) {
    Values out;
    for (const int64_t id : ids) out.push_back(std::exchange(p[static_cast<size_t>(id)], 0.0));
    if (ids.size() < p.size()) out.push_back(std::accumulate(p.begin(), p.end(), 0.0));
    return out;
}

}  // namespace

Values bucket_divergence(Divergence kind, const Values& teacher, const Values& student, int64_t n, double tau,
                         int64_t k) {
    Values out;
    for (int64_t row = 0; row < std::ssize(student); row += n) {
        const auto ids = top_k(&teacher[row], n, k);
        out.push_back(divergence_of(kind, buckets(softmax(&teacher[row], n, tau), ids),
                                    buckets(softmax(&student[row], n, tau), ids)));
    }
    return out;
}

Values bucket_logit_gradient(const LossWeights& weights, int64_t k, const Values& teacher,
                             const Values& student, const std::vector<int32_t>& labels,
                             const Values& row_weights) {
    LossWeights of_labels = weights;
    of_labels.divergence = std::nullopt;
    Values out = logit_gradient(of_labels, teacher, student, labels, row_weights);
    const auto rows = std::ssize(row_weights);
    const int64_t n = rows == 0 ? 0 : std::ssize(student) / rows;
    for (int64_t i = 0; i < rows; ++i) {
        const auto ids = top_k(&teacher[i * n], n, k);
        const Values p = softmax(&student[i * n], n, weights.tau), s = buckets(p, ids);
        const Values slope =
            divergence_slopes(*weights.divergence, buckets(softmax(&teacher[i * n], n, weights.tau), ids), s);
        const double expectation = dot(s, slope);
        std::vector<size_t> bucket(static_cast<size_t>(n), ids.size());  // the tail is the last
        for (size_t b = 0; b < ids.size(); ++b) bucket[static_cast<size_t>(ids[b])] = b;
        for (int64_t j = 0; j < n; ++j) {
            out[i * n + j] += row_weights[i] * double{weights.divergence_weight} / double{weights.tau} *
                              p[j] * (slope[bucket[static_cast<size_t>(j)]] - expectation);
        }
    }
    return out;
}

}  // namespace espalier::reference
