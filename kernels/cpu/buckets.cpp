#include "kernels/cpu/buckets.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/element.hpp"
#include "kernels/cpu/vector_math.hpp"
#include "kernels/divergence_terms.hpp"

namespace espalier::cpu {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// One row's distributions over the buckets.
struct Row {
    std::vector<double> t, s, slope;

    explicit Row(int64_t buckets) : t(static_cast<size_t>(buckets)), s(t.size()), slope(t.size()) {}

    static void probabilities(const float* logits, float lse, double inverse_tau, std::vector<double>& p) {
        double tail = 1;
        for (size_t b = 0; b + 1 < p.size(); ++b) {
            p[b] = std::max(std::exp(double{logits[b]} * inverse_tau - double{lse}), least_token);
            tail -= p[b];
        }
        p.back() = std::max(tail, least_tail);
    }

    /// The loss; `slope` = of each bucket, less its expectation under the student.
    template <Divergence kind>
    double loss_and_slopes() {
        BucketProducts products;
        for (size_t b = 0; b < t.size(); ++b) {
            products.ts += t[b] * s[b];
            products.tt += t[b] * t[b];
            products.ss += s[b] * s[b];
        }
        double sum = 0, expected = 0;
        for (size_t b = 0; b < t.size(); ++b) {
            sum += bucket_loss<kind>(t[b], s[b]);
            slope[b] = bucket_slope<kind>(t[b], s[b], products);
            expected += s[b] * slope[b];
        }
        for (double& of_bucket : slope) of_bucket -= expected;
        return bucket_row_loss<kind>(sum, products);
    }
};

}  // namespace

void bucket_divergence(Context& ctx, Divergence kind, const Sides& sides, float tau, Tensor& loss,
                       Tensor& slopes) {
    const int64_t rows = sides.student.dim(0), k = sides.student.dim(1);
    const double inverse_tau = 1.0 / double{tau};
    with_divergence(kind, [&]<Divergence constant>() {
#pragma omp parallel num_threads(ctx.threads())
        {
            Row row(k + 1);
#pragma omp for
            for (int64_t i = 0; i < rows; ++i) {
                Row::probabilities(sides.teacher.data<float>() + i * k, sides.lse_t.data<float>()[i],
                                   inverse_tau, row.t);
                Row::probabilities(sides.student.data<float>() + i * k, sides.lse_s.data<float>()[i],
                                   inverse_tau, row.s);
                loss.data<float>()[i] = static_cast<float>(row.loss_and_slopes<constant>());
                float* const out = slopes.data<float>() + i * (k + 1);
                for (int64_t b = 0; b < k; ++b) out[b] = static_cast<float>(row.s[b] * row.slope[b]);
                out[k] = static_cast<float>(row.slope[k]);
            }
        }
    });
}

void bucket_logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, const Tensor& ids,
                           const Tensor& slopes, Tensor& d_logits) {
    const Tensor& student = in.sides.student;
    const int64_t rows = student.dim(0), n = student.dim(1), k = ids.dim(1);
    const float inverse_tau = 1.0f / weights.tau;

    const auto write_row = [&]<class T>(int64_t i, std::vector<float>& kept, T* out) {
        const float weight = in.row_weights.data<float>()[i];
        if (weight == 0) {
            std::fill_n(out, n, T(0.0f));
            return;
        }
        const int64_t label = weights.label_weight != 0 ? in.labels.data<int32_t>()[i] : -1;
        const float label_factor = label >= 0 ? weight * weights.label_weight : 0.0f;
        const float factor = weight * weights.divergence_weight * inverse_tau,
                    lse = in.sides.lse_s.data<float>()[i];
        // Whoever has labels has their log-sum-exp too. NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
        const float label_lse = label_factor != 0 ? in.lse_1.data<float>()[i] : infinity;
        const float* const s = student.data<float>() + i * n;
        const float* const slope = slopes.data<float>() + i * (k + 1);
        const int32_t* const id = ids.data<int32_t>() + i * k;
        const float tail = factor * slope[k];
        const auto of_tail = [=](float z) __attribute__((always_inline)) {
            return tail * fast_exp(z * inverse_tau - lse) + label_factor * fast_exp(z - label_lse);
        };
        const auto column_of = [&](int64_t token) {
            const int64_t column = token - in.first_id;
            return token >= 0 && column >= 0 && column < n ? column : -1;
        };
        // The few that are no part of the tail, before `out`, which may be `student`, is written.
        for (int64_t b = 0; b < k; ++b) {
            const int64_t column = column_of(id[b]);
            if (column < 0) continue;
            kept[b] = factor * slope[b] + label_factor * fast_exp(s[column] - label_lse) -
                      (id[b] == label ? label_factor : 0);
        }
        const int64_t at_label = column_of(label);
        const float for_label = at_label >= 0 ? of_tail(s[at_label]) - label_factor : 0.0f;
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) store(out[j], of_tail(s[j]));
        if (at_label >= 0) store(out[at_label], for_label);
        for (int64_t b = 0; b < k; ++b) {
            const int64_t column = column_of(id[b]);
            if (column >= 0) store(out[column], kept[b]);
        }
    };
    visit_float(d_logits.dtype(), [&]<class T>(T) {
#pragma omp parallel num_threads(ctx.threads())
        {
            std::vector<float> kept(static_cast<size_t>(k));
#pragma omp for
            for (int64_t i = 0; i < rows; ++i) write_row(i, kept, d_logits.data<T>() + i * n);
        }
    });
}

}  // namespace espalier::cpu
