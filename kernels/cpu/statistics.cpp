#include "kernels/cpu/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace espalier::cpu {
namespace {

/// Rows that one step adds up in registers, and rows that are summed in f32 before they join the doubles.
constexpr int64_t rows_per_step = 8;
constexpr int64_t rows_per_run = 64;
/// Columns whose three f32 sums stay in the first-level cache; fewer where there are not enough samples to
/// keep every thread busy.
constexpr int64_t widest_tile = 2048;
constexpr int64_t narrowest_tile = 16;
/// Elements of a row that are summed in f32 before they join the doubles.
constexpr int64_t run_length = 1024;

/// sums [3, width] += |x|, x^2, x over `rows` rows, `stride` apart.
template <int64_t rows, class T>
void add_rows(const T* x, int64_t stride, int64_t width, float* sums) {
    float* const absolute = sums;
    float* const square = sums + width;
    float* const plain = sums + 2 * width;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
        float a = 0, s = 0, p = 0;
#pragma GCC unroll 8
        for (int64_t i = 0; i < rows; ++i) {
            const float v = static_cast<float>(x[i * stride + j]);
            a += std::fabs(v);
            s += v * v;
            p += v;
        }
        absolute[j] += a;
        square[j] += s;
        plain[j] += p;
    }
}

/// One sample's sums of one tile of columns: out [3, ...] with rows `out_stride` apart.
template <class T>
void sample_moments(const T* x, int64_t seq, int64_t stride, int64_t width, float* out, int64_t out_stride) {
    std::vector<double> total(static_cast<size_t>(3 * width));
    std::vector<float> run(static_cast<size_t>(3 * width));
    for (int64_t begin = 0; begin < seq; begin += rows_per_run) {
        const int64_t end = std::min(seq, begin + rows_per_run);
        std::fill(run.begin(), run.end(), 0.0f);
        int64_t row = begin;
        for (; row + rows_per_step <= end; row += rows_per_step) {
            add_rows<rows_per_step>(x + row * stride, stride, width, run.data());
        }
        for (; row < end; ++row) add_rows<1>(x + row * stride, stride, width, run.data());
        for (size_t j = 0; j < total.size(); ++j) total[j] += double{run[j]};
    }
    for (int64_t k = 0; k < 3; ++k) {
        for (int64_t j = 0; j < width; ++j) {
            out[k * out_stride + j] = static_cast<float>(total[static_cast<size_t>(k * width + j)]);
        }
    }
}

int64_t tile_width(int64_t samples, int64_t columns, int64_t threads) {
    if (samples >= threads) return widest_tile;
    const int64_t share = div_ceil(div_ceil(columns, threads), narrowest_tile) * narrowest_tile;
    return std::clamp(share, narrowest_tile, widest_tile);
}

template <class T>
double row_cosine(const T* a, const T* b, int64_t n) {
    double aa = 0, bb = 0, ab = 0;
    for (int64_t begin = 0; begin < n; begin += run_length) {
        const int64_t end = std::min(n, begin + run_length);
        float run_aa = 0, run_bb = 0, run_ab = 0;
#pragma omp simd reduction(+ : run_aa, run_bb, run_ab)
        for (int64_t j = begin; j < end; ++j) {
            const float u = static_cast<float>(a[j]), v = static_cast<float>(b[j]);
            run_aa += u * u;
            run_bb += v * v;
            run_ab += u * v;
        }
        aa += double{run_aa};
        bb += double{run_bb};
        ab += double{run_ab};
    }
    return aa > 0 && bb > 0 ? ab / (std::sqrt(aa) * std::sqrt(bb)) : 0.0;
}

}  // namespace

void moments(Context& ctx, const Tensor& x, int64_t samples, Range columns, Tensor& moments) {
    if (samples == 0) return;
    const int64_t n = x.dim(1), seq = x.dim(0) / samples, count = columns.size();
    const int64_t tile = tile_width(samples, count, ctx.threads()), tiles = div_ceil(count, tile);
    visit_float(x.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t item = 0; item < samples * tiles; ++item) {
            const int64_t sample = item / tiles, first = item % tiles * tile;
            sample_moments(x.data<T>() + sample * seq * n + columns.begin + first, seq, n,
                           std::min(tile, count - first), moments.data<float>() + sample * 3 * count + first,
                           count);
        }
    });
}

void head_norms(Context& ctx, const Tensor& o, int64_t heads, Tensor& norms) {
    if (heads == 0) return;
    const int64_t rows = o.dim(0), head_dim = o.dim(1) / heads;
    visit_float(o.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < rows * heads; ++i) {
            const T* const head = o.data<T>() + i * head_dim;
            float squares = 0;
#pragma omp simd reduction(+ : squares)
            for (int64_t j = 0; j < head_dim; ++j) {
                squares += static_cast<float>(head[j]) * static_cast<float>(head[j]);
            }
            norms.data<float>()[i] = std::sqrt(squares);
        }
    });
}

double cosine_sum(Context& ctx, const Tensor& a, const Tensor& b) {
    const int64_t rows = a.dim(0), n = a.dim(1);
    std::vector<double> cosines(static_cast<size_t>(rows));
    visit_float(a.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < rows; ++i) {
            cosines[static_cast<size_t>(i)] = row_cosine(a.data<T>() + i * n, b.data<T>() + i * n, n);
        }
    });
    double sum = 0;  // in the order of the rows, whatever the threads
    for (const double cosine : cosines) sum += cosine;
    return sum;
}

}  // namespace espalier::cpu
