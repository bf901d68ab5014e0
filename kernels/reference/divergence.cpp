#include "kernels/reference/divergence.hpp"

#include <algorithm>
#include <cmath>

namespace espalier::reference {
namespace {

/// p log(p / q), 0 where p is 0.
double relative_entropy(double p, double q) {
    return p > 0 ? p * std::log(p / q) : 0;
}

}  // namespace

Values softmax(const double* z, int64_t n, double tau) {
    const double max = *std::max_element(z, z + n);
    Values p(n);
    double sum = 0;
    for (int64_t j = 0; j < n; ++j) sum += p[j] = std::exp((z[j] - max) / tau);
    for (double& value : p) value /= sum;
    return p;
}

double dot(const Values& a, const Values& b) {
    double sum = 0;
    for (size_t j = 0; j < a.size(); ++j) sum += a[j] * b[j];
    return sum;
}

double divergence_of(Divergence kind, const Values& t, const Values& s) {
    if (kind == Divergence::cosine) return 1 - dot(t, s) / std::sqrt(dot(t, t) * dot(s, s));
    double sum = 0;
    for (size_t j = 0; j < t.size(); ++j) {
        const double mean = (t[j] + s[j]) / 2;
        switch (kind) {
            case Divergence::kl:
                sum += relative_entropy(t[j], s[j]);
                break;
            case Divergence::reverse_kl:
                sum += relative_entropy(s[j], t[j]);
                break;
            case Divergence::jsd:
                sum += (relative_entropy(t[j], mean) + relative_entropy(s[j], mean)) / 2;
                break;
            case Divergence::tvd:
                sum += std::abs(t[j] - s[j]) / 2;
                break;
            case Divergence::mse:
                sum += (t[j] - s[j]) * (t[j] - s[j]);
                break;
            case Divergence::cosine:
                break;
        }
    }
    return sum;
}

Values divergence_slopes(Divergence kind, const Values& t, const Values& s) {
    const double norm_t = std::sqrt(dot(t, t)), norm_s = std::sqrt(dot(s, s)), both = dot(t, s);
    Values out(t.size());
    for (size_t j = 0; j < t.size(); ++j) {
        switch (kind) {
            case Divergence::kl:
                out[j] = -t[j] / s[j];
                break;
            case Divergence::reverse_kl:
                out[j] = std::log(s[j] / t[j]) + 1;
                break;
            case Divergence::jsd:
                out[j] = std::log(2 * s[j] / (t[j] + s[j])) / 2;
                break;
            case Divergence::tvd:
                out[j] = (s[j] > t[j] ? 1 : s[j] < t[j] ? -1 : 0) / 2.0;
                break;
            case Divergence::mse:
                out[j] = 2 * (s[j] - t[j]);
                break;
            case Divergence::cosine:
                out[j] = both * s[j] / (norm_t * norm_s * norm_s * norm_s) - t[j] / (norm_t * norm_s);
                break;
        }
    }
    return out;
}

Values log_sum_exp(const Values& z, int64_t n, double tau) {
    Values out;
    for (int64_t row = 0; row < std::ssize(z); row += n) {
        const double max = *std::max_element(&z[row], &z[row] + n);
        double sum = 0;
        for (int64_t j = 0; j < n; ++j) sum += std::exp((z[row + j] - max) / tau);
        out.push_back(max / tau + std::log(sum));
    }
    return out;
}

Values divergence(Divergence kind, const Values& teacher, const Values& student, int64_t n, double tau) {
    Values out;
    for (int64_t row = 0; row < std::ssize(student); row += n) {
        out.push_back(divergence_of(kind, softmax(&teacher[row], n, tau), softmax(&student[row], n, tau)));
    }
    return out;
}

Values cross_entropy(const Values& student, const std::vector<int32_t>& labels, int64_t n) {
    Values out = log_sum_exp(student, n, 1);
    for (size_t i = 0; i < labels.size(); ++i) {
        out[i] = labels[i] < 0 ? 0 : out[i] - student[static_cast<int64_t>(i) * n + labels[i]];
    }
    return out;
}

Values logit_gradient(const LossWeights& weights, const Values& teacher, const Values& student,
                      const std::vector<int32_t>& labels, const Values& row_weights) {
    Values out(student.size());
    const auto rows = std::ssize(row_weights);
    const int64_t n = rows == 0 ? 0 : std::ssize(student) / rows;
    const double tau = weights.tau;
    for (int64_t i = 0; i < rows; ++i) {
        double* const d = out.data() + i * n;
        if (weights.divergence) {
            const Values t = softmax(&teacher[i * n], n, tau), s = softmax(&student[i * n], n, tau);
            const Values slope = divergence_slopes(*weights.divergence, t, s);
            const double expectation = dot(s, slope);
            for (int64_t j = 0; j < n; ++j) {
                d[j] += double{weights.divergence_weight} * s[j] * (slope[j] - expectation) / tau;
            }
        }
        if (weights.label_weight != 0 && labels[i] >= 0) {
            const Values p = softmax(&student[i * n], n, 1);
            for (int64_t j = 0; j < n; ++j) {
                d[j] += double{weights.label_weight} * (p[j] - (j == labels[i] ? 1 : 0));
            }
        }
        for (int64_t j = 0; j < n; ++j) d[j] *= row_weights[i];
    }
    return out;
}

}  // namespace espalier::reference
