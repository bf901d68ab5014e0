// Heads normalised. A warp has a head, 16 bytes a lane where they allow it: 128 dims of bf16 are 16 lanes,
// read once and again from the caches, so that forward moves every query and key twice and backward 5 times,
// of which the weights' gradients are 2. 8 warps to a block, no shared memory: registers alone bound how many
// are on their way.
#include "kernels/cuda/qk_norm.hpp"

#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/row_mean.cuh"

namespace espalier::cuda {
namespace {

constexpr int warps = 8, threads = warps * warp;

/// Heads of all tokens, one after another.
struct Heads {
    int64_t query, normed, all, dims;
    __host__ __device__ int64_t in_token(int64_t row) const { return row % all; }
    /// Where a normed head's factor stands.
    __host__ __device__ int64_t factor(int64_t row) const { return row / all * normed + row % all; }
};

Heads heads_of(HeadCounts heads, int64_t dims) {
    return {heads.query, heads.normed(), heads.all(), dims};
}

template <int N, class T>
__global__ void forward(const T* x, const T* query_weight, const T* key_weight, Heads heads, int64_t rows,
                        float eps, T* y, float* rstd) {
    const int64_t row = int64_t{blockIdx.x} * warps + threadIdx.x / warp;
    if (row >= rows) return;
    const int64_t head = heads.in_token(row), dims = heads.dims;
    const T* const in = x + row * dims;
    T* const out = y + row * dims;
    const bool normed = head < heads.normed;
    if (!normed && in == out) return;
    float factor = 1;
    if (normed) {
        const float mean_square = row_mean<Warp, N>(dims, [&](int64_t j) {
            float v[N];
            load<N>(in + j, v);
            return dot(v, v);
        });
        factor = 1.0f / sqrtf(mean_square + eps);
        if (lane() == 0) rstd[heads.factor(row)] = factor;
    }
    const T* const weight = head < heads.query ? query_weight : key_weight;
    for (int64_t j = lane() * N; j < dims; j += warp * N) {
        float v[N], w[N];
        load<N>(in + j, v);
        if (normed) {
            load<N>(weight + j, w);
            for (int k = 0; k < N; ++k) v[k] = v[k] * factor * w[k];
        }
        store<N>(out + j, v);
    }
}

template <int N, class T>
__global__ void backward(const T* x, const T* query_weight, const T* key_weight, const float* rstd,
                         Heads heads, int64_t rows, T* d) {
    const int64_t row = int64_t{blockIdx.x} * warps + threadIdx.x / warp;
    if (row >= rows) return;
    const int64_t head = heads.in_token(row), dims = heads.dims;
    if (head >= heads.normed) return;
    const float factor = rstd[heads.factor(row)];
    const T* const in = x + row * dims;
    T* const out = d + row * dims;
    const T* const weight = head < heads.query ? query_weight : key_weight;
    // g: the gradient of the normalised head; its projection on the head itself
    const auto g_and_normal = [&](int64_t j, float(&g)[N], float(&normal)[N]) {
        float w[N];
        load<N>(out + j, g);
        load<N>(in + j, normal);
        load<N>(weight + j, w);
        for (int k = 0; k < N; ++k) {
            g[k] *= w[k];
            normal[k] *= factor;
        }
    };
    const float projection = row_mean<Warp, N>(dims, [&](int64_t j) {
        float g[N], normal[N];
        g_and_normal(j, g, normal);
        return dot(g, normal);
    });
    for (int64_t j = lane() * N; j < dims; j += warp * N) {
        float g[N], normal[N];
        g_and_normal(j, g, normal);
        for (int k = 0; k < N; ++k) g[k] = factor * (g[k] - normal[k] * projection);
        store<N>(out + j, g);
    }
}

/// Heads of a token whose terms a thread adds up at a time: so many fewer partial sums.
constexpr unsigned heads_at_once = 8;

/// Terms of one weight's gradient; a row is heads_at_once of the heads first .. end - 1 of a token.
template <class T>
struct WeightTerms {
    const T* dy;
    const T* x;
    const float* rstd;
    Heads heads;
    unsigned first, end;
    __host__ __device__ unsigned parts() const { return (end - first + heads_at_once - 1) / heads_at_once; }
    __device__ void add(int64_t row, int64_t j, float (&sums)[1]) const {
        const auto part = static_cast<unsigned>(row);
        const int64_t token = part / parts();
        unsigned head = first + part % parts() * heads_at_once;
        const unsigned stop = head + heads_at_once < end ? head + heads_at_once : end;
        for (; head < stop; ++head) {
            const int64_t at = (token * heads.all + head) * heads.dims + j;
            sums[0] += to_float(dy[at]) * (to_float(x[at]) * rstd[token * heads.normed + head]);
        }
    }
};

template <class T>
void add_weight_gradient(Context& ctx, int64_t tokens, WeightTerms<T> terms, const Tensor& dweight) {
    add_column_sums<1>(ctx, tokens * terms.parts(), terms.heads.dims, terms, {data<float>(dweight)});
}

}  // namespace

void qk_norm(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
             HeadCounts counts, float eps, Tensor& y, Tensor& rstd) {
    const int64_t dims = query_weight.dim(0), rows = x.dim(0) * counts.all();
    visit_elements(x.dtype(), [&]<class T>(T) {
        const bool wide = dims % pack == 0 && aligned(x.raw(), query_weight.raw(), key_weight.raw(), y.raw());
        with_pack(wide, [&]<int N>() {
            launch(forward<N, T>, blocks_for(rows, warps), threads, 0, ctx.stream(), data<T>(x),
                   data<T>(query_weight), data<T>(key_weight), heads_of(counts, dims), rows, eps, data<T>(y),
                   data<float>(rstd));
        });
    });
}

void qk_norm_backward(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
                      HeadCounts counts, const Tensor& rstd, Tensor& d, Tensor& d_query_weight,
                      Tensor& d_key_weight) {
    const int64_t tokens = x.dim(0), dims = query_weight.dim(0), rows = tokens * counts.all();
    const Heads heads = heads_of(counts, dims);
    visit_elements(x.dtype(), [&]<class T>(T) {
        // Before d becomes the gradient of x.
        const auto queries = narrow<unsigned>(counts.query), normed = narrow<unsigned>(counts.normed());
        const WeightTerms<T> terms{data<T>(d), data<T>(x), data<float>(rstd), heads, 0, queries};
        add_weight_gradient(ctx, tokens, terms, d_query_weight);
        WeightTerms<T> of_keys = terms;
        of_keys.first = queries;
        of_keys.end = normed;
        add_weight_gradient(ctx, tokens, of_keys, d_key_weight);
        const bool wide = dims % pack == 0 && aligned(x.raw(), query_weight.raw(), key_weight.raw(), d.raw());
        with_pack(wide, [&]<int N>() {
            launch(backward<N, T>, blocks_for(rows, warps), threads, 0, ctx.stream(), data<T>(x),
                   data<T>(query_weight), data<T>(key_weight), data<float>(rstd), heads, rows, data<T>(d));
        });
    });
}

}  // namespace espalier::cuda
