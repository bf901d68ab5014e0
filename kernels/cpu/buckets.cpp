#include "kernels/cpu/buckets.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/element.hpp"
#include "kernels/cpu/vector_math.hpp"
#include "kernels/cpu/wide.hpp"
#include "kernels/divergence_terms.hpp"
#include "kernels/vocabulary_part.hpp"

namespace espalier::cpu {
namespace {

using namespace detail;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// One row's distributions over the buckets.
struct Row {
    std::vector<double> log_t, log_s, slope;
    std::vector<Bucket> buckets;

    explicit Row(int64_t count)
        : log_t(static_cast<size_t>(count)),
          log_s(log_t.size()),
          slope(log_t.size()),
          buckets(log_t.size()) {}

    static void find_log_p(const float* logits, float tail, double inverse_tau, std::vector<double>& log_p) {
        for (size_t b = 0; b + 1 < log_p.size(); ++b) log_p[b] = double{logits[b]} * inverse_tau;
        log_p.back() = double{tail};
        const double max = *std::max_element(log_p.begin(), log_p.end());
        double sum = 0;
        for (const double exponent : log_p) sum += std::exp(exponent - max);
        const double lse = max + std::log(sum);
        for (double& exponent : log_p) exponent -= lse;
    }

    /// The loss; `slope` = dD / d(z_s / tau).
    template <Divergence kind>
    double loss_and_slopes() {
        BucketProducts products;
        for (size_t b = 0; b < buckets.size(); ++b) {
            buckets[b] = bucket_of(log_t[b], log_s[b]);
            products.ts += buckets[b].t * buckets[b].s;
            products.tt += buckets[b].t * buckets[b].t;
            products.ss += buckets[b].s * buckets[b].s;
        }
        double sum = 0, expected = 0;
        for (size_t b = 0; b < buckets.size(); ++b) {
            sum += bucket_loss<kind>(buckets[b]);
            slope[b] = bucket_slope<kind>(buckets[b], products);
            expected += slope[b];
        }
        for (size_t b = 0; b < buckets.size(); ++b) slope[b] -= buckets[b].s * expected;
        return bucket_row_loss<kind>(sum, products);
    }
};

}  // namespace

void bucket_divergence(Context& ctx, Divergence kind, const Buckets& buckets, float tau, Tensor& loss,
                       Tensor& slopes) {
    const int64_t rows = buckets.student.dim(0), k = buckets.student.dim(1);
    const double inverse_tau = 1.0 / double{tau};
    with_divergence(kind, [&]<Divergence constant>() {
#pragma omp parallel num_threads(ctx.threads())
        {
            Row row(k + 1);
#pragma omp for
            for (int64_t i = 0; i < rows; ++i) {
                Row::find_log_p(buckets.teacher.data<float>() + i * k, buckets.tail_t.data<float>()[i],
                                inverse_tau, row.log_t);
                Row::find_log_p(buckets.student.data<float>() + i * k, buckets.tail_s.data<float>()[i],
                                inverse_tau, row.log_s);
                loss.data<float>()[i] = static_cast<float>(row.loss_and_slopes<constant>());
                float* const out = slopes.data<float>() + i * (k + 1);
                for (int64_t b = 0; b <= k; ++b) out[b] = static_cast<float>(row.slope[b]);
            }
        }
    });
}

void bucket_logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in,
                           const Buckets& buckets, const Tensor& slopes, Tensor& d_logits) {
    const Tensor& student = in.sides.student;
    const int64_t rows = student.dim(0), n = student.dim(1), k = buckets.ids.dim(1);
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
                    tail_lse = buckets.tail_s.data<float>()[i];
        // Whoever has labels has their log-sum-exp too. NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
        const float label_lse = label_factor != 0 ? in.lse_1.data<float>()[i] : infinity;
        const float* const s = student.data<float>() + i * n;
        const float* const slope = slopes.data<float>() + i * (k + 1);
        const int32_t* const id = buckets.ids.data<int32_t>() + i * k;
        const float tail = factor * slope[k];
        const auto of_divergence = [=](float z) ESPALIER_WIDE {
            return tail * fast_exp_flushed(z * inverse_tau - tail_lse);
        };
        const auto of_tail = [=](float z) ESPALIER_WIDE {
            return of_divergence(z) + label_factor * fast_exp_flushed(z - label_lse);
        };
        const auto fill = [&](auto element) {
            wide([=]() ESPALIER_WIDE {
#pragma omp simd
                for (int64_t j = 0; j < n; ++j) store(out[j], element(s[j]));
            });
        };
        // The few that are no part of the tail, before `out`, which may be `student`, is written; of_tail may
        // be no number for them.
        for (int64_t b = 0; b < k; ++b) {
            const int64_t column = column_of(id[b], in.first_id, n);
            if (column < 0) continue;
            kept[b] = factor * slope[b] + label_factor * fast_exp_flushed(s[column] - label_lse) -
                      (id[b] == label ? label_factor : 0);
        }
        const int64_t at_label = column_of(label, in.first_id, n);
        const float for_label = at_label >= 0 ? of_tail(s[at_label]) - label_factor : 0.0f;
        if (label_factor == 0) {
            fill(of_divergence);
        } else {
            fill(of_tail);
        }
        if (at_label >= 0) store(out[at_label], for_label);
        for (int64_t b = 0; b < k; ++b) {
            const int64_t column = column_of(id[b], in.first_id, n);
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
