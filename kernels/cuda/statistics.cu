// Activation statistics; every activation is read once. A block of moments has 32 columns, a lane each, and 8
// warps that share the rows: 4096 channels of 4 samples are 512 blocks, 4 on each multiprocessor.
#include "kernels/cuda/statistics.hpp"

#include "kernels/cuda/element.cuh"
#include "kernels/cuda/reduce.cuh"

namespace espalier::cuda {
namespace {

constexpr int threads = 256;
constexpr int row_groups = threads / warp;

template <class T>
__global__ void column_moments(const T* x, int64_t seq, int64_t n, int64_t first, int64_t columns,
                               double* moments) {
    __shared__ double sums[3][row_groups][warp];
    const int lane = static_cast<int>(threadIdx.x) % warp, group = static_cast<int>(threadIdx.x) / warp;
    const int64_t column = int64_t{blockIdx.x} * warp + lane;
    double shift = 0, absolute = 0, plain = 0, square = 0;  // of differences from the sample's first row
    if (column < columns) {
        const T* const top = x + blockIdx.y * seq * n + first + column;
        shift = double{to_float(top[0])};
        for (int64_t row = group; row < seq; row += row_groups) {
            const double v = double{to_float(top[row * n])}, difference = v - shift;
            absolute += fabs(v) - fabs(shift);
            plain += difference;
            square += difference * difference;
        }
    }
    sums[0][group][lane] = absolute;
    sums[1][group][lane] = plain;
    sums[2][group][lane] = square;
    __syncthreads();
    if (group > 0 || column >= columns) return;
    for (int g = 1; g < row_groups; ++g) {
        absolute += sums[0][g][lane];
        plain += sums[1][g][lane];
        square += sums[2][g][lane];
    }
    const auto count = static_cast<double>(seq);
    const double mean_difference = plain / count;
    double* const out = moments + int64_t{blockIdx.y} * 3 * columns + column;
    out[0] = count * fabs(shift) + absolute;
    out[columns] = shift + mean_difference;
    out[2 * columns] = fmax(0.0, square - count * mean_difference * mean_difference);
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
    if (threadIdx.x == 0) cosines[blockIdx.x] = uu > 0 && vv > 0 ? uv / (sqrt(uu) * sqrt(vv)) : 0.0;
}

}  // namespace

void moments(Context& ctx, const Tensor& x, int64_t samples, Range columns, Tensor& moments) {
    if (samples == 0) return;
    const int64_t seq = x.dim(0) / samples;
    visit_elements(x.dtype(), [&]<class T>(T) {
        launch(column_moments<T>, {blocks_for(columns.size(), warp), narrow<unsigned>(samples)}, threads, 0,
               ctx.stream(), data<T>(x), seq, x.dim(1), columns.begin, columns.size(), data<double>(moments));
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
