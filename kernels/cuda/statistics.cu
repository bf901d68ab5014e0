// Activation statistics; every activation is read once, and neurons while the activation makes them. A block
// of moments has 64 columns, two a lane, and 16 warps that share the rows, each with 8 of them on their way:
// 4096 channels of 4 samples are 256 blocks, 2 on each multiprocessor, which together read 32 KiB at a time.
#include "kernels/cuda/statistics.hpp"

#include "kernels/activation_terms.hpp"
#include "kernels/cuda/element.cuh"
#include "kernels/cuda/reduce.cuh"

namespace espalier::cuda {
namespace {

using namespace detail;

constexpr int threads = 256;
constexpr int row_groups = threads / warp;

constexpr int moment_groups = 16;
constexpr int moment_threads = moment_groups * warp;
constexpr int rows_at_once = 8;  // that a thread has on their way

/// Sums over rows of a column's differences from its first.
struct Differences {
    double absolute, plain, square;

    __device__ void add(float value, float first) {
        const double v = double{value}, shift = double{first}, difference = v - shift;
        absolute += fabs(v) - fabs(shift);
        plain += difference;
        square += difference * difference;
    }
    __device__ void add(const Differences& other) {
        absolute += other.absolute;
        plain += other.plain;
        square += other.square;
    }
};

// Where values come from: fetch() reads what N of them side by side are made of, value() makes them of that,
// keep() does with them what else there is to do.

/// What is there, from `x` on in rows n apart.
template <class T>
struct Stored {
    static constexpr int reads = 1;
    const T* x;
    int64_t n;
    template <int N>
    __device__ void fetch(int64_t row, int64_t column, float (&read)[reads][N]) const {
        load<N>(x + row * n + column, read[0]);
    }
    template <int N>
    __device__ void value(const float (&read)[reads][N], float (&v)[N]) const {
        for (int k = 0; k < N; ++k) v[k] = read[0][k];
    }
    template <int N>
    __device__ void keep(int64_t, int64_t, const float (&)[N]) const {}
};

/// y [rows, n], as it is made of u (kernels/cuda/activation.cu).
template <class F, Form form, class T>
struct Activated {
    static constexpr int reads = form == Form::gated ? 2 : 1;
    const T* u;
    T* y;
    int64_t n;
    template <int N>
    __device__ void fetch(int64_t row, int64_t column, float (&read)[reads][N]) const {
        for (int i = 0; i < reads; ++i) load<N>(u + (row * reads + i) * n + column, read[i]);
    }
    /// Rounded as it is kept.
    template <int N>
    __device__ void value(const float (&read)[reads][N], float (&v)[N]) const {
        for (int k = 0; k < N; ++k) {
            float exact = F::at(read[0][k]).value;
            if constexpr (form == Form::gated) exact *= read[1][k];
            T rounded;
            store(&rounded, exact);
            v[k] = to_float(rounded);
        }
    }
    template <int N>
    __device__ void keep(int64_t row, int64_t column, const float (&v)[N]) const {
        store<N>(y + row * n + column, v);
    }
};

/// A lane has N columns side by side, whose addresses are multiples of N elements.
template <int N, class Source>
__global__ void column_moments(Source source, int64_t seq, int64_t columns, double* moments) {
    __shared__ Differences of_groups[moment_groups][N][warp];
    const int lane = static_cast<int>(threadIdx.x) % warp, group = static_cast<int>(threadIdx.x) / warp;
    const int64_t column = (int64_t{blockIdx.x} * warp + lane) * N;
    float shift[N] = {};
    Differences sums[N] = {};
    if (column < columns) {
        const int64_t top = blockIdx.y * seq, end = top + seq;
        float first[Source::reads][N];
        source.fetch(top, column, first);
        source.value(first, shift);
        const auto add = [&](int64_t row, const float(&read)[Source::reads][N]) {
            float values[N];
            source.value(read, values);
            source.keep(row, column, values);
            for (int c = 0; c < N; ++c) sums[c].add(values[c], shift[c]);
        };
        int64_t row = top + group;
        for (; row + (rows_at_once - 1) * moment_groups < end; row += rows_at_once * moment_groups) {
            float read[rows_at_once][Source::reads][N];
            ESPALIER_UNROLL
            for (int r = 0; r < rows_at_once; ++r) source.fetch(row + r * moment_groups, column, read[r]);
            ESPALIER_UNROLL
            for (int r = 0; r < rows_at_once; ++r) add(row + r * moment_groups, read[r]);
        }
        for (; row < end; row += moment_groups) {
            float read[Source::reads][N];
            source.fetch(row, column, read);
            add(row, read);
        }
    }
    for (int c = 0; c < N; ++c) of_groups[group][c][lane] = sums[c];
    __syncthreads();
    if (group > 0 || column >= columns) return;
    for (int c = 0; c < N; ++c) {
        for (int g = 1; g < moment_groups; ++g) sums[c].add(of_groups[g][c][lane]);
        const auto count = static_cast<double>(seq);
        const double mean_difference = sums[c].plain / count;
        double* const out = moments + int64_t{blockIdx.y} * 3 * columns + column + c;
        out[0] = count * fabs(double{shift[c]}) + sums[c].absolute;
        out[columns] = double{shift[c]} + mean_difference;
        const double about_mean = sums[c].square - count * mean_difference * mean_difference;
        out[2 * columns] = about_mean < 0 ? 0.0 : about_mean;  // NaN stays
    }
}

template <class Source>
void launch_moments(Context& ctx, Source source, int64_t seq, int64_t samples, bool in_pairs, int64_t columns,
                    double* moments) {
    const auto run = [&]<int N>() {
        launch(column_moments<N, Source>, {blocks_for(columns, N * warp), narrow<unsigned>(samples)},
               moment_threads, 0, ctx.stream(), source, seq, columns, moments);
    };
    if (in_pairs) {
        run.template operator()<2>();
    } else {
        run.template operator()<1>();
    }
}

template <class T>
bool begins_at_a_pair(const T* x) {
    return reinterpret_cast<uintptr_t>(x) % sizeof(Pair<T>) == 0;
}

/// A warp has a head.
template <class T>
__global__ void norms_of_heads(int64_t count, const T* o, int64_t head_dim, float* norms) {
    const int64_t head = int64_t{blockIdx.x} * row_groups + threadIdx.x / warp;
    float squares = 0;
    if (head < count) {
        for (int64_t j = threadIdx.x % warp; j < head_dim; j += warp) {
            const float v = to_float(o[head * head_dim + j]);
            squares += v * v;
        }
    }
    squares = reduce_warp<Sum>(squares);
    if (head < count && threadIdx.x % warp == 0) norms[head] = sqrtf(squares);
}

/// A block has a row; a thread's share is short enough for f32.
template <class T>
__global__ void cosines_of_rows(const T* a, const T* b, int64_t n, double* cosines) {
    const int64_t row = blockIdx.x * n;
    float aa = 0, bb = 0, ab = 0;
    for (int64_t j = threadIdx.x; j < n; j += threads) {
        const float u = to_float(a[row + j]), v = to_float(b[row + j]);
        aa += u * u;
        bb += v * v;
        ab += u * v;
    }
    const double uu = reduce_block<Sum, threads>(double{aa}), vv = reduce_block<Sum, threads>(double{bb});
    const double uv = reduce_block<Sum, threads>(double{ab});
    if (threadIdx.x == 0) cosines[blockIdx.x] = uu <= 0 || vv <= 0 ? 0.0 * uv : uv / (sqrt(uu) * sqrt(vv));
}

}  // namespace

void moments(Context& ctx, const Tensor& x, int64_t samples, Range columns, Tensor& moments) {
    if (samples == 0) return;
    const int64_t seq = x.dim(0) / samples;
    visit_elements(x.dtype(), [&]<class T>(T) {
        const Stored<T> values{data<T>(x) + columns.begin, x.dim(1)};
        const bool in_pairs = x.dim(1) % 2 == 0 && columns.size() % 2 == 0 && begins_at_a_pair(values.x);
        launch_moments(ctx, values, seq, samples, in_pairs, columns.size(), data<double>(moments));
    });
}

void activate_with_moments(Context& ctx, Activation activation, const Tensor& u, int64_t samples, Tensor& y,
                           Tensor& moments) {
    if (samples == 0) return;
    const int64_t n = y.dim(1), seq = y.dim(0) / samples;
    with_activation<DeviceMath>(activation, [&]<class F, Form form>() {
        visit_elements(y.dtype(), [&]<class T>(T) {
            const Activated<F, form, T> values{data<T>(u), data<T>(y), n};
            const bool in_pairs = n % 2 == 0 && begins_at_a_pair(values.u) && begins_at_a_pair(values.y);
            launch_moments(ctx, values, seq, samples, in_pairs, n, data<double>(moments));
        });
    });
}

void head_norms(Context& ctx, const Tensor& o, int64_t heads, Tensor& norms) {
    if (heads == 0) return;
    const int64_t count = norms.size();
    visit_elements(o.dtype(), [&]<class T>(T) {
        launch(norms_of_heads<T>, blocks_for(count, row_groups), threads, 0, ctx.stream(), count, data<T>(o),
               o.dim(1) / heads, data<float>(norms));
    });
}

void row_cosines(Context& ctx, const Tensor& a, const Tensor& b, Tensor& cosines) {
    visit_elements(a.dtype(), [&]<class T>(T) {
        launch(cosines_of_rows<T>, narrow<unsigned>(a.dim(0)), threads, 0, ctx.stream(), data<T>(a),
               data<T>(b), a.dim(1), data<double>(cosines));
    });
}

}  // namespace espalier::cuda
