#include "kernels/reference/activation.hpp"

#include <cmath>
#include <numbers>

namespace espalier::reference {
namespace {

double silu(double x) {
    return x / (1 + std::exp(-x));
}

double silu_slope(double x) {
    const double s = 1 / (1 + std::exp(-x));
    return s * (1 + x * (1 - s));
}

const double gelu_factor = std::sqrt(2 / std::numbers::pi);

double gelu(double x) {
    return 0.5 * x * (1 + std::tanh(gelu_factor * (x + 0.044715 * x * x * x)));
}

double gelu_slope(double x) {
    const double t = std::tanh(gelu_factor * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * gelu_factor * (1 + 3 * 0.044715 * x * x);
}

double value(Activation activation, double x) {
    switch (activation) {
        case Activation::swiglu:
        case Activation::silu:
            return silu(x);
        case Activation::geglu:
        case Activation::gelu:
            return gelu(x);
        case Activation::relu2:
            return x < 0 ? 0 : x * x;
    }
    throw InternalError("unknown activation");
}

double slope(Activation activation, double x) {
    switch (activation) {
        case Activation::swiglu:
        case Activation::silu:
            return silu_slope(x);
        case Activation::geglu:
        case Activation::gelu:
            return gelu_slope(x);
        case Activation::relu2:
            return x < 0 ? 0 : 2 * x;
    }
    throw InternalError("unknown activation");
}

}  // namespace

Values activate(Activation activation, const Values& u, int64_t n) {
    const int64_t width = is_gated(activation) ? 2 * n : n;
    const int64_t rows = std::ssize(u) / width;
    Values y(rows * n);
    for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            const double factor = is_gated(activation) ? u[i * width + n + j] : 1;
            y[i * n + j] = value(activation, u[i * width + j]) * factor;
        }
    }
    return y;
}

Values activate_backward(Activation activation, const Values& dy, const Values& u, int64_t n) {
    const int64_t width = is_gated(activation) ? 2 * n : n;
    const int64_t rows = std::ssize(u) / width;
    Values du(u.size());
    for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < n; ++j) {
            const double x = u[i * width + j], d = dy[i * n + j];
            const double factor = is_gated(activation) ? u[i * width + n + j] : 1;
            du[i * width + j] = d * factor * slope(activation, x);
            if (is_gated(activation)) du[i * width + n + j] = d * value(activation, x);
        }
    }
    return du;
}

}  // namespace espalier::reference
