#include "kernels/cpu/activation.hpp"

#include "kernels/activation_terms.hpp"
#include "kernels/cpu/element.hpp"
#include "kernels/cpu/vector_math.hpp"
#include "kernels/cpu/wide.hpp"

namespace espalier::cpu {
namespace {

using namespace detail;

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
        wide([&]() ESPALIER_WIDE {
#pragma omp simd
            for (int64_t j = 0; j < n; ++j) {
                store(out[j], F::at(static_cast<float>(gate[j])).value * static_cast<float>(up[j]));
            }
        });
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
        wide([&]() ESPALIER_WIDE {
#pragma omp simd
            for (int64_t j = 0; j < n; ++j) {
                const auto [value, slope] = F::at(static_cast<float>(gate[j]));
                const float grad = static_cast<float>(d[j]), factor = static_cast<float>(up[j]);
                store(d_gate[j], grad * factor * slope);
                store(d_up[j], grad * value);
            }
        });
    }
}

}  // namespace

void activate(Context& ctx, Activation activation, const Tensor& u, Tensor& y) {
    visit_float(u.dtype(), [&]<class T>(T) {
        with_activation<VectorMath>(activation, [&]<class F, Form form>() {
            if constexpr (form == Form::gated) {
                gated<F, T>(ctx, u, y);
            } else {
                plain<F, T>(ctx, u, y);
            }
        });
    });
}

void activate_backward(Context& ctx, Activation activation, const Tensor& dy, const Tensor& u, Tensor& du) {
    visit_float(u.dtype(), [&]<class T>(T) {
        with_activation<VectorMath>(activation, [&]<class F, Form form>() {
            if constexpr (form == Form::gated) {
                gated_backward<F, T>(ctx, dy, u, du);
            } else {
                plain_backward<F, T>(ctx, dy, u, du);
            }
        });
    });
}

}  // namespace espalier::cpu
