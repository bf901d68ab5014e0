// Normalised rows. A block has a row: it is read from memory once and again from the caches (a row of 8192
// bf16 is 16 KiB), so that forward moves 2 rows n elements and backward 5; with 256 threads 8 blocks share a
// multiprocessor and one's reads hide the other's reductions.
#include "kernels/cuda/norm.hpp"

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/row_mean.cuh"

namespace espalier::cuda {
namespace {

constexpr int threads = 256;

using Team = Block<threads>;

/// Of x, or where there is r of joined = x + r, whose elements a thread reads again that wrote them.
template <int N, class T>
__global__ void forward(const T* x, const T* r, T* joined, const T* weight, const T* bias, int64_t n,
                        NormOptions options, T* y, float* stats) {
    const int64_t row = blockIdx.x * n;
    const T* in = x + row;
    T* const out = y + row;
    if (r) {
        for (int64_t j = Team::rank() * N; j < n; j += Team::size * N) {
            float v[N], added[N];
            load<N>(in + j, v);
            load<N>(r + row + j, added);
            for (int k = 0; k < N; ++k) v[k] += added[k];
            store<N>(joined + row + j, v);
        }
        in = joined + row;
    }
    const float offset = options.gain == Gain::one_plus_weight ? 1.0f : 0.0f;
    float mean = 0;
    if (options.kind == NormKind::layer) {
        mean = row_mean<Team, N>(n, [&](int64_t j) {
            float v[N], sum = 0;
            load<N>(in + j, v);
            for (int k = 0; k < N; ++k) sum += v[k];
            return sum;
        });
    }
    const float variance = row_mean<Team, N>(n, [&](int64_t j) {
        float v[N];
        load<N>(in + j, v);
        for (int k = 0; k < N; ++k) v[k] -= mean;
        return dot(v, v);
    });
    const float rstd = 1.0f / sqrtf(variance + options.eps);
    if (threadIdx.x == 0) {
        stats[2 * blockIdx.x] = mean;
        stats[2 * blockIdx.x + 1] = rstd;
    }
    for (int64_t j = Team::rank() * N; j < n; j += Team::size * N) {
        float v[N], w[N], b[N] = {};
        load<N>(in + j, v);
        load<N>(weight + j, w);
        if (bias) load<N>(bias + j, b);
        for (int k = 0; k < N; ++k) v[k] = (v[k] - mean) * rstd * (w[k] + offset) + b[k];
        store<N>(out + j, v);
    }
}

template <int N, class T>
__global__ void backward(const T* dy, const T* x, const T* weight, const float* stats, int64_t n,
                         NormOptions options, T* dx) {
    const int64_t row = blockIdx.x * n;
    const float mean = stats[2 * blockIdx.x], rstd = stats[2 * blockIdx.x + 1];
    const float offset = options.gain == Gain::one_plus_weight ? 1.0f : 0.0f;
    // g: the gradient of the normalised row; its projections on 1 and on the row itself
    const auto g_and_normal = [&](int64_t j, float(&g)[N], float(&normal)[N]) {
        float w[N];
        load<N>(dy + row + j, g);
        load<N>(x + row + j, normal);
        load<N>(weight + j, w);
        for (int k = 0; k < N; ++k) {
            g[k] *= w[k] + offset;
            normal[k] = (normal[k] - mean) * rstd;
        }
    };
    float mean_g = 0;
    if (options.kind == NormKind::layer) {
        mean_g = row_mean<Team, N>(n, [&](int64_t j) {
            float g[N], normal[N], sum = 0;
            g_and_normal(j, g, normal);
            for (int k = 0; k < N; ++k) sum += g[k];
            return sum;
        });
    }
    const float projection = row_mean<Team, N>(n, [&](int64_t j) {
        float g[N], normal[N];
        g_and_normal(j, g, normal);
        return dot(g, normal);
    });
    for (int64_t j = threadIdx.x * N; j < n; j += threads * N) {
        float g[N], normal[N], d[N];
        g_and_normal(j, g, normal);
        load<N>(dx + row + j, d);
        for (int k = 0; k < N; ++k) d[k] += rstd * (g[k] - mean_g - normal[k] * projection);
        store<N>(dx + row + j, d);
    }
}

/// A row's terms of dweight and dbias.
template <class T>
struct WeightTerms {
    const T* dy;
    const T* x;
    const float* stats;
    int64_t n;
    __device__ void add(int64_t row, int64_t j, float (&sums)[2]) const {
        const float d = to_float(dy[row * n + j]);
        sums[0] += d * ((to_float(x[row * n + j]) - stats[2 * row]) * stats[2 * row + 1]);
        sums[1] += d;
    }
};

void launch_forward(Context& ctx, const Tensor& x, const Tensor& r, const Tensor& weight, const Tensor& bias,
                    NormOptions options, const Tensor& sum, const Tensor& y, const Tensor& stats) {
    const auto [rows, n] = x.dims<2>();
    visit_elements(x.dtype(), [&, rows = rows, n = n]<class T>(T) {
        const bool wide =
            n % pack == 0 && aligned(x.raw(), r.raw(), sum.raw(), weight.raw(), bias.raw(), y.raw());
        with_pack(wide, [&]<int N>() {
            launch(forward<N, T>, narrow<unsigned>(rows), threads, 0, ctx.stream(), data<T>(x), data<T>(r),
                   data<T>(sum), data<T>(weight), data<T>(bias), n, options, data<T>(y), data<float>(stats));
        });
    });
}

}  // namespace

void norm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, NormOptions options,
          Tensor& y, Tensor& stats) {
    launch_forward(ctx, x, {}, weight, bias, options, {}, y, stats);
}

void add_norm(Context& ctx, const Tensor& x, const Tensor& r, const Tensor& weight, const Tensor& bias,
              NormOptions options, Tensor& sum, Tensor& y, Tensor& stats) {
    launch_forward(ctx, x, r, weight, bias, options, sum, y, stats);
}

void norm_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& stats,
                   NormOptions options, Tensor& dx, Tensor& dweight, Tensor& dbias) {
    const auto [rows, n] = x.dims<2>();
    visit_elements(x.dtype(), [&, rows = rows, n = n]<class T>(T) {
        const bool wide = n % pack == 0 && aligned(dy.raw(), x.raw(), weight.raw(), dx.raw());
        with_pack(wide, [&]<int N>() {
            launch(backward<N, T>, narrow<unsigned>(rows), threads, 0, ctx.stream(), data<T>(dy), data<T>(x),
                   data<T>(weight), data<float>(stats), n, options, data<T>(dx));
        });
        add_column_sums<2>(ctx, rows, n, WeightTerms<T>{data<T>(dy), data<T>(x), data<float>(stats), n},
                           {data<float>(dweight), data<float>(dbias)});
    });
}

}  // namespace espalier::cuda
