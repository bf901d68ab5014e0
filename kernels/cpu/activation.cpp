#include "kernels/cpu/activation.hpp"

#include <cmath>
#include <numbers>

#include "kernels/cpu/element.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace espalier::cpu {
namespace {

/// A nonlinearity's value and slope at a point.
struct Point {
    float value;
    float slope;
};

/// 1 / (1 + e^-x), and one minus it without cancellation.
struct Sigmoid {
    float value;
    float rest;
};

[[gnu::always_inline]] inline Sigmoid sigmoid(float x) {
    constexpr float largest = 87.0f;  // whose exponential and its inverse are still normal numbers
    const float e = fast_exp(-x > largest ? largest : -x);
    const float s = 1.0f / (1.0f + e);
    return {s, e * s};
}

struct Silu {
    [[gnu::always_inline]] static Point at(float x) {
        const auto [s, rest] = sigmoid(x);
        return {x * s, s + x * s * rest};
    }
};

/// The tanh form, by (1 + tanh(y)) / 2 = sigmoid(2 y).
struct Gelu {
    [[gnu::always_inline]] static Point at(float x) {
        constexpr auto c = static_cast<float>(2.0 * std::numbers::sqrt2 * std::numbers::inv_sqrtpi);
        constexpr float cubic = 0.044715f;
        const auto [s, rest] = sigmoid(c * (x + cubic * x * x * x));
        return {x * s, s + x * s * rest * c * (1.0f + 3.0f * cubic * x * x)};
    }
};

struct SquaredRelu {
    [[gnu::always_inline]] static Point at(float x) {
        const float positive = 0.5f * (x + std::fabs(x));  // exact, and no branch to keep from vectors
        return {positive * positive, 2.0f * positive};
    }
};

template <class F, class T>
void plain(Context& ctx, const Tensor& u, Tensor& y) {
    const int64_t count = y.size();
    const T* const in = u.data<T>();
    T* const out = y.data<T>();
#pragma omp parallel for simd num_threads(ctx.threads())
    for (int64_t i = 0; i < count; ++i) store(out[i], F::at(static_cast<float>(in[i])).value);
}

template <class F, class T>
void plain_backward(Context& ctx, const Tensor& dy, const Tensor& u, Tensor& du) {
    const int64_t count = dy.size();
    const T* const in = u.data<T>();
    const T* const d = dy.data<T>();
    T* const out = du.data<T>();
#pragma omp parallel for simd num_threads(ctx.threads())
    for (int64_t i = 0; i < count; ++i) {
        store(out[i], static_cast<float>(d[i]) * F::at(static_cast<float>(in[i])).slope);
    }
}

template <class F, class T>
void gated(Context& ctx, const Tensor& u, Tensor& y) {
    const int64_t rows = y.dim(0), n = y.dim(1);
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        const T* const gate = u.data<T>() + 2 * i * n;
        const T* const up = gate + n;
        T* const out = y.data<T>() + i * n;
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) {
            store(out[j], F::at(static_cast<float>(gate[j])).value * static_cast<float>(up[j]));
        }
    }
}

template <class F, class T>
void gated_backward(Context& ctx, const Tensor& dy, const Tensor& u, Tensor& du) {
    const int64_t rows = dy.dim(0), n = dy.dim(1);
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        const T* const d = dy.data<T>() + i * n;
        const T* const gate = u.data<T>() + 2 * i * n;
        const T* const up = gate + n;
        T* const d_gate = du.data<T>() + 2 * i * n;
        T* const d_up = d_gate + n;
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) {
            const auto [value, slope] = F::at(static_cast<float>(gate[j]));
            const float grad = static_cast<float>(d[j]), factor = static_cast<float>(up[j]);
            store(d_gate[j], grad * factor * slope);
            store(d_up[j], grad * value);
        }
    }
}

}  // namespace

void activate(Context& ctx, Activation activation, const Tensor& u, Tensor& y) {
    visit_float(u.dtype(), [&]<class T>(T) {
        switch (activation) {
            case Activation::swiglu:
                return gated<Silu, T>(ctx, u, y);
            case Activation::geglu:
                return gated<Gelu, T>(ctx, u, y);
            case Activation::relu2:
                return plain<SquaredRelu, T>(ctx, u, y);
            case Activation::gelu:
                return plain<Gelu, T>(ctx, u, y);
            case Activation::silu:
                return plain<Silu, T>(ctx, u, y);
        }
    });
}

void activate_backward(Context& ctx, Activation activation, const Tensor& dy, const Tensor& u, Tensor& du) {
    visit_float(u.dtype(), [&]<class T>(T) {
        switch (activation) {
            case Activation::swiglu:
                return gated_backward<Silu, T>(ctx, dy, u, du);
            case Activation::geglu:
                return gated_backward<Gelu, T>(ctx, dy, u, du);
            case Activation::relu2:
                return plain_backward<SquaredRelu, T>(ctx, dy, u, du);
            case Activation::gelu:
                return plain_backward<Gelu, T>(ctx, dy, u, du);
            case Activation::silu:
                return plain_backward<Silu, T>(ctx, dy, u, du);
        }
    });
}

}  // namespace espalier::cpu
