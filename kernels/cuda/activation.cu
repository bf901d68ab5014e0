// The MLP's nonlinearity, element by element: a thread moves one pack of the result and of each input, once.
// The exponential costs some 20 instructions an element, under the 40 that memory gives time for.
#include "kernels/cuda/activation.hpp"

#include "kernels/activation_terms.hpp"
#include "kernels/cuda/element.cuh"

namespace espalier::cuda {
namespace {

using namespace detail;

constexpr int threads = 256;

/// Of row i, columns j .. j + N - 1; the gate is the first half of a row of u.
template <class F, Form form, int N, class T>
__global__ void forward(int64_t count, int64_t n, const T* u, T* y) {
    const int64_t at = (int64_t{blockIdx.x} * threads + threadIdx.x) * N;
    if (at >= count) return;
    const int64_t from = form == Form::gated ? at + at / n * n : at;
    float v[N], up[N];
    load<N>(u + from, v);
    if constexpr (form == Form::gated) load<N>(u + from + n, up);
    for (int k = 0; k < N; ++k) {
        v[k] = F::at(v[k]).value;
        if constexpr (form == Form::gated) v[k] *= up[k];
    }
    store<N>(y + at, v);
}

template <class F, Form form, int N, class T>
__global__ void backward(int64_t count, int64_t n, const T* dy, const T* u, T* du) {
    const int64_t at = (int64_t{blockIdx.x} * threads + threadIdx.x) * N;
    if (at >= count) return;
    const int64_t from = form == Form::gated ? at + at / n * n : at;
    float d[N], v[N], up[N];
    load<N>(dy + at, d);
    load<N>(u + from, v);
    if constexpr (form == Form::gated) load<N>(u + from + n, up);
    for (int k = 0; k < N; ++k) {
        const Point p = F::at(v[k]);
        v[k] = d[k] * p.slope;
        if constexpr (form == Form::gated) {
            v[k] *= up[k];
            up[k] = d[k] * p.value;
        }
    }
    store<N>(du + from, v);
    if constexpr (form == Form::gated) store<N>(du + from + n, up);
}

}  // namespace

void activate(Context& ctx, Activation activation, const Tensor& u, Tensor& y) {
    const int64_t count = y.size(), n = y.dim(1);
    with_activation<DeviceMath>(activation, [&]<class F, Form form>() {
        visit_elements(u.dtype(), [&]<class T>(T) {
            with_pack(n % pack == 0 && aligned(u.raw(), y.raw()), [&]<int N>() {
                launch(forward<F, form, N, T>, blocks_for(count, threads * N), threads, 0, ctx.stream(),
                       count, n, data<T>(u), data<T>(y));
            });
        });
    });
}

void activate_backward(Context& ctx, Activation activation, const Tensor& dy, const Tensor& u, Tensor& du) {
    const int64_t count = dy.size(), n = dy.dim(1);
    with_activation<DeviceMath>(activation, [&]<class F, Form form>() {
        visit_elements(u.dtype(), [&]<class T>(T) {
            with_pack(n % pack == 0 && aligned(dy.raw(), u.raw(), du.raw()), [&]<int N>() {
                launch(backward<F, form, N, T>, blocks_for(count, threads * N), threads, 0, ctx.stream(),
                       count, n, data<T>(dy), data<T>(u), data<T>(du));
            });
        });
    });
}

}  // namespace espalier::cuda
