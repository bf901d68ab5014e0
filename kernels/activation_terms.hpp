// The nonlinearities, one element at a time; nvcc compiles this too. Math has static exp(float), and
// positive(float), which is max(0, x) and keeps NaN, for the back end.
#pragma once

#include "kernels/activation.hpp"
#include "kernels/host_device.hpp"

namespace espalier::detail {

/// A nonlinearity's value and slope at a point.
struct Point {
    float value;
    float slope;
};

/// 1 / (1 + e^-x), 0 where that is no normal number, and one minus it without cancellation.
struct Sigmoid {
    float value;
    float rest;
};

template <class Math>
ESPALIER_HOST_DEVICE Sigmoid sigmoid(float x) {
    constexpr float largest = 87.0f;  // whose exponential and its inverse are still normal numbers
    const bool none = -x > largest;
    const float e = Math::exp(none ? largest : -x);
    const float s = 1.0f / (1.0f + e);
    return {none ? 0.0f : s, e * s};
}

template <class Math>
struct Silu {
    ESPALIER_HOST_DEVICE static Point at(float x) {
        const auto [s, rest] = sigmoid<Math>(x);
        return {x * s, s + x * s * rest};
    }
};

/// The tanh form, by (1 + tanh(y)) / 2 = sigmoid(2 y).
template <class Math>
struct Gelu {
    ESPALIER_HOST_DEVICE static Point at(float x) {
        constexpr float c = 1.5957691216f, cubic = 0.044715f;  // c = 2 sqrt(2 / pi)
        constexpr float far = 100.0f;  // the sigmoid is 0 or 1 from 11 on, and no power overflows
        const float t = x > far ? far : x < -far ? -far : x;
        const auto [s, rest] = sigmoid<Math>(c * (t + cubic * t * t * t));
        return {x * s, s + t * s * rest * c * (1.0f + 3.0f * cubic * t * t)};
    }
};

template <class Math>
struct SquaredRelu {
    ESPALIER_HOST_DEVICE static Point at(float x) {
        const float positive = Math::positive(x);
        return {positive * positive, 2.0f * positive};
    }
};

/// gated: act(gate) * up, where a row of the input is gate | up; plain: act(u).
enum class Form { plain, gated };

/// Calls f with the nonlinearity and its form as constants: f.template operator()<F, form>().
template <class Math, class F>
void with_activation(Activation activation, F&& f) {
    switch (activation) {
        case Activation::swiglu:
            return f.template operator()<Silu<Math>, Form::gated>();
        case Activation::geglu:
            return f.template operator()<Gelu<Math>, Form::gated>();
        case Activation::relu2:
            return f.template operator()<SquaredRelu<Math>, Form::plain>();
        case Activation::gelu:
            return f.template operator()<Gelu<Math>, Form::plain>();
        case Activation::silu:
            return f.template operator()<Silu<Math>, Form::plain>();
    }
}

}  // namespace espalier::detail
