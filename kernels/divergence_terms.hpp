// The divergences, one entry of a distribution at a time: what each sums over the entries, its loss, its
// gradient. nvcc compiles this too. t teacher, s student.
#pragma once

#include <cfloat>
#include <cmath>

#include "kernels/divergence.hpp"
#include "kernels/host_device.hpp"

namespace espalier::detail {

/// Calls f with the divergence as a constant: f.template operator()<kind>().
template <class F>
void with_divergence(Divergence kind, F&& f) {
    switch (kind) {
        case Divergence::kl:
            return f.template operator()<Divergence::kl>();
        case Divergence::reverse_kl:
            return f.template operator()<Divergence::reverse_kl>();
        case Divergence::jsd:
            return f.template operator()<Divergence::jsd>();
        case Divergence::tvd:
            return f.template operator()<Divergence::tvd>();
        case Divergence::mse:
            return f.template operator()<Divergence::mse>();
        case Divergence::cosine:
            return f.template operator()<Divergence::cosine>();
    }
}

// Over a vocabulary, in f32. a = z / tau - lse is the logarithm of a probability p = e^a. Math has static
// exp(float) and log(float) for the back end, which keep NaN.

/// log((p_t + p_s) / 2); the smallest normal number is added so that it is finite where both have
/// underflowed.
template <class Math>
ESPALIER_HOST_DEVICE float log_mean(float p_t, float p_s) {
    return Math::log(0.5f * (p_t + p_s) + FLT_MIN);
}

/// The slope of |x| / 2; 0 where x is, and NaN stays NaN.
template <class T>
ESPALIER_HOST_DEVICE T half_sign(T x) {
    return x > 0 ? T(0.5) : x < 0 ? T(-0.5) : x;
}

/// One entry's share of the row's sums.
struct Terms {
    float first = 0;
    float second = 0;
    float third = 0;
};

template <Divergence kind, class Math>
ESPALIER_HOST_DEVICE Terms terms(float a_t, float a_s) {
    const float p_t = Math::exp(a_t);
    if constexpr (kind == Divergence::kl) return {p_t * (a_t - a_s)};
    const float p_s = Math::exp(a_s);
    if constexpr (kind == Divergence::reverse_kl) return {p_s * (a_s - a_t)};
    if constexpr (kind == Divergence::jsd) {
        const float m = log_mean<Math>(p_t, p_s);
        return {p_t * (a_t - m), p_s * (a_s - m)};
    }
    if constexpr (kind == Divergence::tvd) {
        const float slope = half_sign(p_s - p_t);
        return {slope * (p_s - p_t), slope * p_s};
    }
    if constexpr (kind == Divergence::mse) {
        const float difference = p_s - p_t;
        return {difference * difference, 2.0f * p_s * difference};
    }
    return {p_t * p_s, p_t * p_t, p_s * p_s};
}

template <Divergence kind>
ESPALIER_HOST_DEVICE float row_loss(const float* sums) {
    if constexpr (kind == Divergence::jsd) return 0.5f * (sums[0] + sums[1]);
    if constexpr (kind == Divergence::cosine) return 1.0f - sums[0] / sqrtf(sums[1] * sums[2]);
    return sums[0];
}

/// What an entry's gradient needs of its row: the student's expectation of the slope, or, for the cosine,
/// 1 / (|p_t| |p_s|) and the cosine / |p_s|^2.
struct RowConstants {
    float first = 0;
    float second = 0;
};

template <Divergence kind>
ESPALIER_HOST_DEVICE RowConstants row_constants(const float* sums) {
    if constexpr (kind == Divergence::reverse_kl) return {sums[0]};
    if constexpr (kind == Divergence::jsd || kind == Divergence::tvd || kind == Divergence::mse)
        return {sums[1]};
    if constexpr (kind == Divergence::cosine) {
        const float inverse = 1.0f / sqrtf(sums[1] * sums[2]);
        return {inverse, sums[0] * inverse / sums[2]};
    }
    return {};
}

/// dD / d(z_s / tau): p_s (slope - sum p_s slope), slope = dD / dp_s.
template <Divergence kind, class Math>
ESPALIER_HOST_DEVICE float gradient(float a_t, float a_s, RowConstants row) {
    const float p_s = Math::exp(a_s);
    if constexpr (kind == Divergence::reverse_kl) return p_s * (a_s - a_t - row.first);
    const float p_t = Math::exp(a_t);
    if constexpr (kind == Divergence::kl) return p_s - p_t;
    if constexpr (kind == Divergence::jsd) return 0.5f * p_s * (a_s - log_mean<Math>(p_t, p_s) - row.first);
    if constexpr (kind == Divergence::tvd) return p_s * (half_sign(p_s - p_t) - row.first);
    if constexpr (kind == Divergence::mse) return p_s * (2.0f * (p_s - p_t) - row.first);
    return p_s * (row.second * p_s - row.first * p_t);  // cosine; its expectation is 0
}

// Over K tokens and a tail, in double: a row has few buckets.

/// log p of a bucket on both sides, -inf of an empty tail, and p.
struct Bucket {
    double log_t, log_s, t, s;
};
ESPALIER_HOST_DEVICE Bucket bucket_of(double log_t, double log_s) {
    return {log_t, log_s, exp(log_t), exp(log_s)};
}

/// p x, and 0 where p is 0, whatever a logarithm is there.
ESPALIER_HOST_DEVICE double weighted(double p, double x) {
    return p == 0 ? 0.0 : p * x;
}

/// Sums over all buckets of a row, for the cosine.
struct BucketProducts {
    double ts = 0, tt = 0, ss = 0;
};

/// s dD/ds, up to s times what is the same for all buckets.
template <Divergence kind>
ESPALIER_HOST_DEVICE double bucket_slope(const Bucket& b, const BucketProducts& row) {
    if constexpr (kind == Divergence::kl) return -b.t;
    if constexpr (kind == Divergence::reverse_kl) return weighted(b.s, b.log_s - b.log_t);
    if constexpr (kind == Divergence::jsd) return weighted(b.s, 0.5 * (b.log_s - log(0.5 * (b.t + b.s))));
    if constexpr (kind == Divergence::tvd) return b.s * half_sign(b.s - b.t);
    if constexpr (kind == Divergence::mse) return 2 * b.s * (b.s - b.t);
    return b.s * (row.ts / row.ss * b.s - b.t) / sqrt(row.tt * row.ss);  // cosine
}

/// A bucket's part of the loss; of the cosine, whose loss is no sum, nothing.
template <Divergence kind>
ESPALIER_HOST_DEVICE double bucket_loss(const Bucket& b) {
    if constexpr (kind == Divergence::kl) return weighted(b.t, b.log_t - b.log_s);
    if constexpr (kind == Divergence::reverse_kl) return weighted(b.s, b.log_s - b.log_t);
    if constexpr (kind == Divergence::jsd) {
        const double m = log(0.5 * (b.t + b.s));
        return 0.5 * (weighted(b.t, b.log_t - m) + weighted(b.s, b.log_s - m));
    }
    if constexpr (kind == Divergence::tvd) return half_sign(b.s - b.t) * (b.s - b.t);
    if constexpr (kind == Divergence::mse) return (b.s - b.t) * (b.s - b.t);
    return 0;
}

/// The row's loss, of the sum over its buckets.
template <Divergence kind>
ESPALIER_HOST_DEVICE double bucket_row_loss(double sum, const BucketProducts& row) {
    if constexpr (kind == Divergence::cosine) return 1 - row.ts / sqrt(row.tt * row.ss);
    return sum;
}

}  // namespace espalier::detail
