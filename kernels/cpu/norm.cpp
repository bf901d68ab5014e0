#include "kernels/cpu/norm.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/element.hpp"
#include "src/core/exact.hpp"

namespace espalier::cpu {
namespace {

/// Rows whose share of dweight and dbias is summed on its own: the result does not depend on the threads.
constexpr int64_t rows_per_block = 64;
constexpr int64_t columns_per_tile = 256;

struct RowStats {
    float mean;
    float rstd;
};

/// Elements of a row that are summed in f32 before they join the double.
constexpr int64_t run_length = 512;

/// Sum over a row of (x - centre)^power, power 1 or 2.
template <int power, class T>
double power_sum(const T* x, int64_t n, float centre) {
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += run_length) {
        const int64_t end = std::min(n, begin + run_length);
        float run = 0;
#pragma omp simd reduction(+ : run)
        for (int64_t j = begin; j < end; ++j) {
            const float v = static_cast<float>(x[j]) - centre;
            run += power == 2 ? v * v : v;
        }
        sum += double{run};
    }
    return sum;
}

template <class T>
RowStats row_stats(const T* x, int64_t n, NormOptions options) {
    const auto count = static_cast<double>(n);
    const auto mean =
        options.kind == NormKind::layer ? static_cast<float>(power_sum<1>(x, n, 0.0f) / count) : 0.0f;
    const double variance = power_sum<2>(x, n, mean) / count;
    return {mean, static_cast<float>(1.0 / std::sqrt(variance + double{options.eps}))};
}

float gain_offset(NormOptions options) {
    return options.gain == Gain::one_plus_weight ? 1.0f : 0.0f;
}

/// row_of(i): where the row that is normed stands.
template <class T, class RowOf>
void forward(Context& ctx, RowOf row_of, const Tensor& weight, const Tensor& bias, NormOptions options,
             Tensor& y, Tensor& stats) {
    const int64_t rows = y.dim(0), count = y.dim(1);
    const T* const w = weight.data<T>();
    const T* const b = bias ? bias.data<T>() : nullptr;
    const float offset = gain_offset(options);

#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        const T* const in = row_of(i);
        T* const out = y.data<T>() + i * count;
        const auto [mean, rstd] = row_stats(in, count, options);
        stats.data<float>()[2 * i] = mean;
        stats.data<float>()[2 * i + 1] = rstd;
        const float shift = mean, factor = rstd;
        if (b) {  // NOLINT(bugprone-branch-clone): the check does not look into OpenMP's loops
#pragma omp simd
            for (int64_t j = 0; j < count; ++j) {
                const float normal = (static_cast<float>(in[j]) - shift) * factor;
                store(out[j], normal * (static_cast<float>(w[j]) + offset) + static_cast<float>(b[j]));
            }
        } else {
#pragma omp simd
            for (int64_t j = 0; j < count; ++j) {
                const float normal = (static_cast<float>(in[j]) - shift) * factor;
                store(out[j], normal * (static_cast<float>(w[j]) + offset));
            }
        }
    }
}

/// One row: dx +=, and its terms of dweight and dbias +=.
template <class T>
void backward_row(const T* dy, const T* x, const T* weight, RowStats stats, NormOptions options, int64_t n,
                  T* dx, float* dweight, float* dbias) {
    const float offset = gain_offset(options), mean = stats.mean, rstd = stats.rstd;
    float sum = 0, projection = 0;  // of the gradient of the normalised row: on 1, and on the row itself
#pragma omp simd reduction(+ : sum, projection)
    for (int64_t j = 0; j < n; ++j) {
        const float g = static_cast<float>(dy[j]) * (static_cast<float>(weight[j]) + offset);
        sum += g;
        projection += g * ((static_cast<float>(x[j]) - mean) * rstd);
    }
    const float mean_sum = options.kind == NormKind::layer ? sum / static_cast<float>(n) : 0.0f;
    const float mean_projection = projection / static_cast<float>(n);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
        const float d = static_cast<float>(dy[j]);
        const float normal = (static_cast<float>(x[j]) - mean) * rstd;
        const float g = d * (static_cast<float>(weight[j]) + offset);
        store(dx[j], static_cast<float>(dx[j]) + rstd * (g - mean_sum - normal * mean_projection));
        dweight[j] += d * normal;
        dbias[j] += d;
    }
}

template <class T>
void backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& stats,
              NormOptions options, Tensor& dx, Tensor& dweight, Tensor& dbias) {
    const int64_t rows = x.dim(0), n = x.dim(1);
    const int64_t blocks = div_ceil(rows, rows_per_block);
    const Tensor partial = ctx.empty({blocks, 2, n}, DType::f32);
    float* const parts = partial.data<float>();

#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t block = 0; block < blocks; ++block) {
        float* const dw = parts + 2 * block * n;
        float* const db = dw + n;
        std::fill_n(dw, 2 * n, 0.0f);
        const int64_t end = std::min(rows, (block + 1) * rows_per_block);
        for (int64_t i = block * rows_per_block; i < end; ++i) {
            const float* const s = stats.data<float>() + 2 * i;
            backward_row(dy.data<T>() + i * n, x.data<T>() + i * n, weight.data<T>(), {s[0], s[1]}, options,
                         n, dx.data<T>() + i * n, dw, db);
        }
    }

    const auto join = [&](int64_t which, float* out, int64_t begin, int64_t end) {
        for (int64_t block = 0; block < blocks; ++block) {
            const float* const part = parts + (2 * block + which) * n;
#pragma omp simd
            for (int64_t j = begin; j < end; ++j) out[j] += part[j];
        }
    };
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t begin = 0; begin < n; begin += columns_per_tile) {
        const int64_t end = std::min(n, begin + columns_per_tile);
        join(0, dweight.data<float>(), begin, end);
        if (dbias) join(1, dbias.data<float>(), begin, end);
    }
}

}  // namespace

void norm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, NormOptions options,
          Tensor& y, Tensor& stats) {
    visit_float(x.dtype(), [&]<class T>(T) {
        const auto row = [&](int64_t i) { return x.data<T>() + i * x.dim(1); };
        forward<T>(ctx, row, weight, bias, options, y, stats);
    });
}

void add_norm(Context& ctx, const Tensor& x, const Tensor& r, const Tensor& weight, const Tensor& bias,
              NormOptions options, Tensor& sum, Tensor& y, Tensor& stats) {
    const int64_t n = x.dim(1);
    visit_float(x.dtype(), [&]<class T>(T) {
        const auto row = [&](int64_t i) {
            const T *const left = x.data<T>() + i * n, *const right = r.data<T>() + i * n;
            T* const to = sum.data<T>() + i * n;
#pragma omp simd
            for (int64_t j = 0; j < n; ++j)
                store(to[j], static_cast<float>(left[j]) + static_cast<float>(right[j]));
            return to;
        };
        forward<T>(ctx, row, weight, bias, options, y, stats);
    });
}

void norm_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& stats,
                   NormOptions options, Tensor& dx, Tensor& dweight, Tensor& dbias) {
    visit_float(x.dtype(),
                [&]<class T>(T) { backward<T>(ctx, dy, x, weight, stats, options, dx, dweight, dbias); });
}

}  // namespace espalier::cpu
