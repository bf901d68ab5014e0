#include "kernels/cpu/statistics.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/wide.hpp"

namespace espalier::cpu {
namespace {

/// Rows whose differences from the first of them are summed in f32, in registers.
constexpr int64_t rows_per_run = 16;
/// Columns whose three f64 moments stay in the first-level cache; fewer where there are not enough samples to
/// keep every thread busy.
constexpr int64_t widest_tile = 1024;
constexpr int64_t narrowest_tile = 16;
/// Elements of a row that are summed in f32 before they join the doubles.
constexpr int64_t run_length = 1024;

/// Three rows of a sample's moments, one tile of columns wide.
struct Moments {
    double *magnitude, *mean, *squares;
};

/// Joins a run of `rows` rows, `stride` apart, to the moments of the `seen` rows before it (Chan, Golub and
/// LeVeque 1983).
template <int64_t rows, class T>
[[gnu::always_inline]] inline void add_run(const T* x, int64_t stride, int64_t width, int64_t seen,
                                           const Moments& moments) {
    constexpr double count = rows;
    const double weight = count / (static_cast<double>(seen) + count);
    const double weight_of_both = static_cast<double>(seen) * weight;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) {
        const auto first = static_cast<float>(x[j]);
        float magnitude = 0, plain = 0, square = 0;
#pragma GCC unroll 16
        for (int64_t i = 1; i < rows; ++i) {
            const auto v = static_cast<float>(x[i * stride + j]);
            const float difference = v - first;
            magnitude += std::fabs(v) - std::fabs(first);
            plain += difference;
            square += difference * difference;
        }
        const double offset = double{plain} / count;
        const double apart = double{first} + offset - moments.mean[j];
        moments.magnitude[j] += count * double{std::fabs(first)} + double{magnitude};
        moments.mean[j] += apart * weight;
        const double within = double{square} - offset * double{plain};
        moments.squares[j] += (within < 0 ? 0.0 : within) + apart * apart * weight_of_both;
    }
}

/// One sample's moments of one tile of columns: out [3, ...] with rows `out_stride` apart.
template <class T>
void sample_moments(const T* x, int64_t seq, int64_t stride, int64_t width, double* out, int64_t out_stride) {
    const Moments moments{out, out + out_stride, out + 2 * out_stride};
    for (double* row : {moments.magnitude, moments.mean, moments.squares}) std::fill_n(row, width, 0.0);
    wide([&]() ESPALIER_WIDE {
        int64_t row = 0;
        for (; row + rows_per_run <= seq; row += rows_per_run)
            add_run<rows_per_run>(x + row * stride, stride, width, row, moments);
        for (; row < seq; ++row) add_run<1>(x + row * stride, stride, width, row, moments);
    });
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
    return aa <= 0 || bb <= 0 ? 0.0 * ab : ab / (std::sqrt(aa) * std::sqrt(bb));  // NaN stays
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
                           std::min(tile, count - first), moments.data<double>() + sample * 3 * count + first,
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

void row_cosines(Context& ctx, const Tensor& a, const Tensor& b, Tensor& cosines) {
    const int64_t rows = a.dim(0), n = a.dim(1);
    visit_float(a.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < rows; ++i)
            cosines.data<double>()[i] = row_cosine(a.data<T>() + i * n, b.data<T>() + i * n, n);
    });
}

}  // namespace espalier::cpu
