// Elementary functions that the compiler vectorises: no branches, no calls, no errno.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace espalier::cpu {

/// 2^power e^rest = e^x, with |rest| at most half of ln 2; `integer` has the power in its low bits.
struct ReducedExp {
    float integer;
    float polynomial;  ///< e^rest
};

constexpr float exp_round_by = 12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits

/// For |x| up to 105. ln 2 in two parts as in Cephes' expf (Moshier 1992); the polynomial has the least
/// relative error among 1 + r + r^2 q(r) with q of degree 4, 3.1e-9.
[[gnu::always_inline]] inline ReducedExp reduce_exp(float x) {
    const float shifted = std::fma(x, 1.44269504f, exp_round_by);
    const float n = shifted - exp_round_by;
    const float r = std::fma(n, 2.12194440e-4f, std::fma(n, -0.693359375f, x));  // x - n ln 2
    float p = 1.3814540580e-3f;
    p = std::fma(p, r, 8.3687454462e-3f);
    p = std::fma(p, r, 4.1668388993e-2f);
    p = std::fma(p, r, 1.6666521132e-1f);
    p = std::fma(p, r, 4.9999994040e-1f);
    p = std::fma(p, r, 1.0f);
    return {shifted, std::fma(p, r, 1.0f)};
}

/// e^x within 1 unit in the last place over all of float: exp(-inf) = 0, exp(inf) = inf, NaN stays NaN.
/// Meant, as all that follow, for loops under `#pragma omp simd`.
[[gnu::always_inline]] inline float fast_exp(float x) {
    constexpr float far = 105.0f;  // e^105 is infinite, e^-105 is 0; NaN is not farther
    const auto [shifted, p] = reduce_exp(std::fabs(x) > far ? std::copysign(far, x) : x);
    // p * 2^n in two steps, because 2^n itself may not be a normal number
    const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(exp_round_by);
    const int32_t half = exponent >> 1;
    const float low = std::bit_cast<float>((half + 127) << 23);
    const float high = std::bit_cast<float>((exponent - half + 127) << 23);
    return p * low * high;
}

/// e^x within 1 unit in the last place for x from -86 to 88, 0 below, where probabilities are 0 for all that
/// f32 can tell; nothing is promised above. NaN stays NaN. Two thirds of the work of fast_exp.
[[gnu::always_inline]] inline float fast_exp_flushed(float x) {
    const auto [shifted, p] = reduce_exp(x);
    const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) + 127U) << 23);
    return x < -86.0f ? 0.0f : p * power;
}

/// tanh x within 3 units in the last place over all of float. After Cephes' tanhf.
[[gnu::always_inline]] inline float fast_tanh(float x) {
    const float z = x * x;
    float p = -5.70498872745e-3f;
    p = std::fma(p, z, 2.06390887954e-2f);
    p = std::fma(p, z, -5.37397155531e-2f);
    p = std::fma(p, z, 1.33314422036e-1f);
    p = std::fma(p, z, -3.33332819422e-1f);
    const float near = std::fma(p * z, x, x);
    const float far = std::copysign(1.0f - 2.0f / (fast_exp(2.0f * std::fabs(x)) + 1.0f), x);
    return std::fabs(x) < 0.625f ? near : far;
}

/// Natural logarithm within 2 units in the last place, of positive normal numbers only; NaN stays NaN. After
/// Cephes' logf.
[[gnu::always_inline]] inline float fast_log(float x) {
    constexpr int32_t sqrt_half = 0x3f3504f3;
    const int32_t bits = std::bit_cast<int32_t>(x);
    const int32_t exponent =
        (bits - sqrt_half) >> 23;  // x = 2^exponent (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)
    const float f = std::bit_cast<float>(bits - (exponent << 23)) - 1.0f;
    float p = 7.0376836292e-2f;
    p = std::fma(p, f, -1.1514610310e-1f);
    p = std::fma(p, f, 1.1676998740e-1f);
    p = std::fma(p, f, -1.2420140846e-1f);
    p = std::fma(p, f, 1.4249322787e-1f);
    p = std::fma(p, f, -1.6668057665e-1f);
    p = std::fma(p, f, 2.0000714765e-1f);
    p = std::fma(p, f, -2.4999993993e-1f);
    p = std::fma(p, f, 3.3333331174e-1f);
    const float e = static_cast<float>(exponent);
    const float low = std::fma(e, -2.12194440e-4f, std::fma(p * f, f * f, -0.5f * f * f));
    return x != x ? x : std::fma(e, 0.693359375f, f + low);
}

/// For code that other back ends share, which takes exponentials of logarithms of probabilities and in
/// sigmoids, of 87 at most.
struct VectorMath {
    [[gnu::always_inline]] static float exp(float x) { return fast_exp_flushed(x); }
    [[gnu::always_inline]] static float log(float x) { return fast_log(x); }
    [[gnu::always_inline]] static float positive(float x) { return x < 0 ? 0.0f : x; }
};

}  // namespace espalier::cpu
