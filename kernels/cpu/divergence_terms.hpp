// The divergences, one vocabulary entry at a time: what each sums over the vocabulary, its loss, its
// gradient. a = z / tau - lse is the logarithm of a probability p = e^a; t teacher, s student.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/cpu/vector_math.hpp"
#include "kernels/divergence.hpp"

namespace espalier::cpu {

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
        case Divergence::mse:
            return f.template operator()<Divergence::mse>();
        case Divergence::cosine:
            return f.template operator()<Divergence::cosine>();
    }
}

/// From logits to logarithms of probabilities, for one row.
struct Temperature {
    float inverse_tau;
    float lse_t;
    float lse_s;

    float log_teacher(float z) const { return z * inverse_tau - lse_t; }
    float log_student(float z) const { return z * inverse_tau - lse_s; }
};

/// log((p_t + p_s) / 2); the smallest normal number is added so that it is finite where both have
/// underflowed.
[[gnu::always_inline]] inline float log_mean(float p_t, float p_s) {
    return fast_log(0.5f * (p_t + p_s) + std::numeric_limits<float>::min());
}

/// One entry's share of the row's sums.
struct Terms {
    float first = 0;
    float second = 0;
    float third = 0;
};

template <Divergence kind>
[[gnu::always_inline]] inline Terms terms(float a_t, float a_s) {
    const float p_t = fast_exp(a_t);
    if constexpr (kind == Divergence::kl) return {p_t * (a_t - a_s)};
    const float p_s = fast_exp(a_s);
    if constexpr (kind == Divergence::reverse_kl) return {p_s * (a_s - a_t)};
    if constexpr (kind == Divergence::jsd) {
        const float m = log_mean(p_t, p_s);
        return {p_t * (a_t - m), p_s * (a_s - m)};
    }
    if constexpr (kind == Divergence::mse) {
        const float difference = p_s - p_t;
        return {difference * difference, 2.0f * p_s * difference};
    }
    return {p_t * p_s, p_t * p_t, p_s * p_s};
}

template <Divergence kind>
float row_loss(const float* sums) {
    if constexpr (kind == Divergence::jsd) return 0.5f * (sums[0] + sums[1]);
    if constexpr (kind == Divergence::cosine) return 1.0f - sums[0] / std::sqrt(sums[1] * sums[2]);
    return sums[0];
}

/// What an entry's gradient needs of its row: the student's expectation of the slope, or, for the cosine,
/// 1 / (|p_t| |p_s|) and the cosine / |p_s|^2.
struct RowConstants {
    float first = 0;
    float second = 0;
};

template <Divergence kind>
RowConstants row_constants(const float* sums) {
    if constexpr (kind == Divergence::reverse_kl) return {sums[0]};
    if constexpr (kind == Divergence::jsd || kind == Divergence::mse) return {sums[1]};
    if constexpr (kind == Divergence::cosine) {
        const float inverse = 1.0f / std::sqrt(sums[1] * sums[2]);
        return {inverse, sums[0] * inverse / sums[2]};
    }
    return {};
}

/// dD / d(z_s / tau): p_s (slope - sum p_s slope), slope = dD / dp_s.
template <Divergence kind>
[[gnu::always_inline]] inline float gradient(float a_t, float a_s, RowConstants row) {
    const float p_s = fast_exp(a_s);
    if constexpr (kind == Divergence::reverse_kl) return p_s * (a_s - a_t - row.first);
    const float p_t = fast_exp(a_t);
    if constexpr (kind == Divergence::kl) return p_s - p_t;
    if constexpr (kind == Divergence::jsd) return 0.5f * p_s * (a_s - log_mean(p_t, p_s) - row.first);
    if constexpr (kind == Divergence::mse) return p_s * (2.0f * (p_s - p_t) - row.first);
    return p_s * (row.second * p_s - row.first * p_t);  // cosine; its expectation is 0
}

}  // namespace espalier::cpu
