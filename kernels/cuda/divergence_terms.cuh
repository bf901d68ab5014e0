// The divergences, one vocabulary entry at a time: what each sums over the vocabulary, its loss, its
// gradient. a = z / tau - lse is the logarithm of a probability p = e^a; t teacher, s student.
#pragma once

#include <cfloat>

#include "kernels/cuda/hardware.cuh"
#include "kernels/divergence.hpp"

namespace espalier::cuda {

/// log((p_t + p_s) / 2), finite where both have underflowed.
__device__ inline float log_mean(float p_t, float p_s) {
    return logf(0.5f * (p_t + p_s) + FLT_MIN);
}

template <Divergence kind>
__device__ void add_terms(float a_t, float a_s, float (&sums)[divergence_sum_count]) {
    const float p_t = expf(a_t);
    if constexpr (kind == Divergence::kl) {
        sums[0] += p_t * (a_t - a_s);
        return;
    }
    const float p_s = expf(a_s);
    if constexpr (kind == Divergence::reverse_kl) {
        sums[0] += p_s * (a_s - a_t);
    } else if constexpr (kind == Divergence::jsd) {
        const float m = log_mean(p_t, p_s);
        sums[0] += p_t * (a_t - m);
        sums[1] += p_s * (a_s - m);
    } else if constexpr (kind == Divergence::mse) {
        const float difference = p_s - p_t;
        sums[0] += difference * difference;
        sums[1] += 2.0f * p_s * difference;
    } else if constexpr (kind == Divergence::cosine) {
        sums[0] += p_t * p_s;
        sums[1] += p_t * p_t;
        sums[2] += p_s * p_s;
    }
}

template <Divergence kind>
__device__ float row_loss(const float* sums) {
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
__device__ RowConstants row_constants(const float* sums) {
    if constexpr (kind == Divergence::reverse_kl) return {sums[0], 0};
    if constexpr (kind == Divergence::jsd || kind == Divergence::mse) return {sums[1], 0};
    if constexpr (kind == Divergence::cosine) {
        const float inverse = 1.0f / sqrtf(sums[1] * sums[2]);
        return {inverse, sums[0] * inverse / sums[2]};
    }
    return {};
}

/// dD / d(z_s / tau): p_s (slope - sum p_s slope), slope = dD / dp_s.
template <Divergence kind>
__device__ float gradient(float a_t, float a_s, RowConstants row) {
    const float p_s = expf(a_s);
    if constexpr (kind == Divergence::reverse_kl) return p_s * (a_s - a_t - row.first);
    const float p_t = expf(a_t);
    if constexpr (kind == Divergence::kl) return p_s - p_t;
    if constexpr (kind == Divergence::jsd) return 0.5f * p_s * (a_s - log_mean(p_t, p_s) - row.first);
    if constexpr (kind == Divergence::mse) return p_s * (2.0f * (p_s - p_t) - row.first);
    return p_s * (row.second * p_s - row.first * p_t);  // cosine; its expectation is 0
}

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

}  // namespace espalier::cuda
