// Attention for every shape and dtype, in f32 without tensor cores: a warp has a row, its lanes 32 rows of
// the other side at a time for the products of rows, and the dimensions of a head for the sums. The other
// side's rows come from the caches (of one head, 4096 rows of 128 bf16 are 1 MiB of the second level's 50).
// bf16 heads that fit tensor cores go to attention_flash.cu; this is for f32, for odd heads, and for the few
// tokens of generation.
#include "kernels/cuda/attention.hpp"

#include "kernels/cuda/attention_cudnn.hpp"
#include "kernels/cuda/attention_flash.hpp"
#include "kernels/cuda/attention_rows.cuh"
#include "kernels/cuda/reduce.cuh"

namespace espalier::cuda {
namespace {

constexpr int warps = 4;
constexpr int threads = warps * warp;
constexpr int64_t widest = 256;
constexpr int per_lane = widest / warp;

/// A row in shared memory with a row of the other side in global memory.
template <class T>
__device__ float dot(const float* a, const T* b, int64_t n) {
    float sum = 0;
    for (int64_t d = 0; d < n; ++d) sum += a[d] * to_float(b[d]);
    return sum;
}

template <class T>
__device__ void stage(const T* from, int64_t n, float factor, float* to) {
    for (int64_t d = lane(); d < n; d += warp) to[d] = factor * to_float(from[d]);
}

/// sums[c] (dimension c * 32 + lane) += sum over k < count of weight[k] * row k of `rows`.
template <class T>
__device__ void add_weighted(const float* weights, int count, const T* rows, int64_t stride, int64_t n,
                             float (&sums)[per_lane]) {
    for (int k = 0; k < count; ++k) {
        for (int c = 0; c < per_lane; ++c) {
            const int64_t d = c * warp + lane();
            if (d < n) sums[c] += weights[k] * to_float(rows[k * stride + d]);
        }
    }
}

template <class T>
__device__ void write(const float (&sums)[per_lane], float factor, int64_t n, T* to) {
    for (int c = 0; c < per_lane; ++c) {
        const int64_t d = c * warp + lane();
        if (d < n) store(to + d, factor * sums[c]);
    }
}

/// Query i of the sequence is at position first_position + i; blocks y are sequences, `between` elements
/// apart.
template <class T>
struct ForwardInputs {
    Heads<T> q, k, v;
    int64_t between_q, between_kv;
    int64_t first_position;
    const int32_t* starts;  // nullptr where positions are not those of a whole sequence
    AttentionShape shape;
};

template <class T>
__global__ void forward(ForwardInputs<T> in, T* o, float* lse) {
    __shared__ float query[warps][widest], weights[warps][warp];
    const AttentionShape& s = in.shape;
    const int w = static_cast<int>(threadIdx.x) / warp;
    const int64_t item = int64_t{blockIdx.x} * warps + w;
    if (item >= s.seq * s.query_heads) return;
    const int64_t token = item / s.query_heads, head = item % s.query_heads, kv = kv_head_of(s, head);
    const int64_t batch = blockIdx.y, position = in.first_position + token;
    const T* const keys = in.k.row(0, kv, s.head_dim) + batch * in.between_kv;
    const T* const values = in.v.row(0, kv, s.head_dim) + batch * in.between_kv;
    stage(in.q.row(token, head, s.head_dim) + batch * in.between_q, s.head_dim, s.scale, query[w]);
    __syncwarp();
    float max = -INFINITY, sum = 0, sums[per_lane] = {};
    const Span seen = keys_of(position, s.window, starts_of(in.starts, batch, s.seq));
    for (int64_t begin = seen.begin; begin < seen.end; begin += warp) {
        const int64_t k = begin + lane();
        const int count = static_cast<int>(seen.end - begin < warp ? seen.end - begin : warp);
        const float score =
            k < seen.end ? capped(s, dot(query[w], keys + k * in.k.stride, s.head_dim)).score : -INFINITY;
        const float larger = fmaxf(max, reduce_warp<Max>(score));
        const float factor = expf(max - larger), p = expf(score - larger);
        max = larger;
        sum = sum * factor + reduce_warp<Sum>(p);
        for (int c = 0; c < per_lane; ++c) sums[c] *= factor;
        weights[w][lane()] = p;
        __syncwarp();
        add_weighted(weights[w], count, values + begin * in.v.stride, in.v.stride, s.head_dim, sums);
        __syncwarp();
    }
    write(sums, 1.0f / sum, s.head_dim, o + ((batch * s.seq + token) * s.query_heads + head) * s.head_dim);
    if (lse && lane() == 0) lse[(batch * s.query_heads + head) * s.seq + token] = max + logf(sum);
}

template <class T>
struct BackwardInputs {
    const T* d_o;
    const T* qkv;
    const int32_t* starts;
    const T* o;
    const float* lse;
    float* delta;  // [batch, query heads, seq]: sum over head_dim of d_o o
    T* dqkv;
    AttentionShape shape;

    /// Elements before head `head` (queries, keys, values counted through) of a token.
    __device__ int64_t at(int64_t batch, int64_t token, int64_t head) const {
        return (batch * shape.seq + token) * qkv_width(shape) + head * shape.head_dim;
    }
    __device__ int64_t at_o(int64_t batch, int64_t token, int64_t head) const {
        return ((batch * shape.seq + token) * shape.query_heads + head) * shape.head_dim;
    }
    __device__ int64_t at_row(int64_t batch, int64_t token, int64_t head) const {
        return (batch * shape.query_heads + head) * shape.seq + token;
    }
};

template <class T>
__global__ void deltas(BackwardInputs<T> in) {
    const AttentionShape& s = in.shape;
    const int64_t item = int64_t{blockIdx.x} * warps + threadIdx.x / warp;
    if (item >= s.seq * s.query_heads) return;
    const int64_t token = item / s.query_heads, head = item % s.query_heads, batch = blockIdx.y;
    const int64_t at = in.at_o(batch, token, head);
    float sum = 0;
    for (int64_t d = lane(); d < s.head_dim; d += warp)
        sum += to_float(in.d_o[at + d]) * to_float(in.o[at + d]);
    sum = reduce_warp<Sum>(sum);
    if (lane() == 0) in.delta[in.at_row(batch, token, head)] = sum;
}

/// A warp has a query: its gradient is the sum over keys of ds k.
template <class T>
__global__ void backward_queries(BackwardInputs<T> in) {
    __shared__ float query[warps][widest], d_out[warps][widest], ds[warps][warp];
    const AttentionShape& s = in.shape;
    const int w = static_cast<int>(threadIdx.x) / warp;
    const int64_t item = int64_t{blockIdx.x} * warps + w;
    if (item >= s.seq * s.query_heads) return;
    const int64_t token = item / s.query_heads, head = item % s.query_heads, batch = blockIdx.y;
    const int64_t key_head = s.query_heads + kv_head_of(s, head), stride = qkv_width(s);
    const T* const keys = in.qkv + in.at(batch, 0, key_head);
    const T* const values = in.qkv + in.at(batch, 0, key_head + s.kv_heads);
    const float lse = in.lse[in.at_row(batch, token, head)], delta = in.delta[in.at_row(batch, token, head)];
    stage(in.qkv + in.at(batch, token, head), s.head_dim, s.scale, query[w]);
    stage(in.d_o + in.at_o(batch, token, head), s.head_dim, 1.0f, d_out[w]);
    __syncwarp();
    float sums[per_lane] = {};
    const Span seen = keys_of(token, s.window, starts_of(in.starts, batch, s.seq));
    for (int64_t begin = seen.begin; begin < seen.end; begin += warp) {
        const int64_t k = begin + lane();
        const int count = static_cast<int>(seen.end - begin < warp ? seen.end - begin : warp);
        float d = 0;
        if (k < seen.end) {
            const Capped c = capped(s, dot(query[w], keys + k * stride, s.head_dim));
            const float p = expf(c.score - lse);
            d = p * (dot(d_out[w], values + k * stride, s.head_dim) - delta) * c.slope;
        }
        ds[w][lane()] = d;
        __syncwarp();
        add_weighted(ds[w], count, keys + begin * stride, stride, s.head_dim, sums);
        __syncwarp();
    }
    write(sums, s.scale, s.head_dim, in.dqkv + in.at(batch, token, head));
}

/// A warp has a key and its value: their gradients are sums over the queries of every head that reads them.
template <class T>
__global__ void backward_keys(BackwardInputs<T> in) {
    __shared__ float key[warps][widest], value[warps][widest], ps[warps][warp], ds[warps][warp];
    const AttentionShape& s = in.shape;
    const int w = static_cast<int>(threadIdx.x) / warp;
    const int64_t item = int64_t{blockIdx.x} * warps + w;
    if (item >= s.seq * s.kv_heads) return;
    const int64_t token = item / s.kv_heads, kv = item % s.kv_heads, batch = blockIdx.y,
                  stride = qkv_width(s);
    const int64_t at_key = in.at(batch, token, s.query_heads + kv);
    const int64_t at_value = in.at(batch, token, s.query_heads + s.kv_heads + kv);
    const int64_t o_stride = s.query_heads * s.head_dim;
    stage(in.qkv + at_key, s.head_dim, s.scale, key[w]);
    stage(in.qkv + at_value, s.head_dim, 1.0f, value[w]);
    __syncwarp();
    float d_key[per_lane] = {}, d_value[per_lane] = {};
    const int64_t end = queries_of(token, s.seq, s.window, starts_of(in.starts, batch, s.seq)).end;
    for (int64_t head = 0; head < s.query_heads; ++head) {
        if (kv_head_of(s, head) != kv) continue;
        const T* const queries = in.qkv + in.at(batch, 0, head);
        const T* const d_out = in.d_o + in.at_o(batch, 0, head);
        for (int64_t begin = token; begin < end; begin += warp) {
            const int64_t q = begin + lane();
            const int count = static_cast<int>(end - begin < warp ? end - begin : warp);
            float p = 0, d = 0;
            if (q < end) {
                const Capped c = capped(s, dot(key[w], queries + q * stride, s.head_dim));
                const int64_t row = in.at_row(batch, q, head);
                p = expf(c.score - in.lse[row]);
                d = p * (dot(value[w], d_out + q * o_stride, s.head_dim) - in.delta[row]) * c.slope;
            }
            ps[w][lane()] = p;
            ds[w][lane()] = d;
            __syncwarp();
            add_weighted(ds[w], count, queries + begin * stride, stride, s.head_dim, d_key);
            add_weighted(ps[w], count, d_out + begin * o_stride, o_stride, s.head_dim, d_value);
            __syncwarp();
        }
    }
    write(d_key, s.scale, s.head_dim, in.dqkv + at_key);
    write(d_value, 1.0f, s.head_dim, in.dqkv + at_value);
}

void expect_width(const AttentionShape& shape) {
    ESPALIER_REQUIRE(shape.head_dim <= widest,
                     "attention on a GPU: heads of {} are wider than {}; use --device cpu", shape.head_dim,
                     widest);
}

dim3 grid_of(int64_t items, int64_t batch) {
    return {blocks_for(items, warps), narrow<unsigned>(batch)};
}

}  // namespace

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse) {
    if (!cudnn::attention(ctx, qkv, starts, shape, o, lse)) own_attention(ctx, qkv, starts, shape, o, lse);
}

void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv) {
    if (!cudnn::attention_backward(ctx, d_o, qkv, starts, o, lse, shape, dqkv)) {
        own_attention_backward(ctx, d_o, qkv, starts, o, lse, shape, dqkv);
    }
}

void own_attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape,
                   Tensor& o, Tensor& lse) {
    expect_width(shape);
    if (flash::fits(qkv.dtype(), shape)) return flash::attention(ctx, qkv, starts, shape, o, lse);
    const int64_t width = qkv_width(shape), keys = shape.query_heads * shape.head_dim;
    visit_elements(qkv.dtype(), [&]<class T>(T) {
        const T* const q = data<T>(qkv);
        const ForwardInputs<T> in{{q, width},
                                  {q + keys, width},
                                  {q + keys + shape.kv_heads * shape.head_dim, width},
                                  shape.seq * width,
                                  shape.seq * width,
                                  0,
                                  data<int32_t>(starts),
                                  shape};
        launch(forward<T>, grid_of(shape.seq * shape.query_heads, shape.batch), threads, 0, ctx.stream(), in,
               data<T>(o), data<float>(lse));
    });
}

void own_attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                            const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv) {
    expect_width(shape);
    const Tensor delta = ctx.empty(lse.shape(), DType::f32);
    const dim3 queries = grid_of(shape.seq * shape.query_heads, shape.batch);
    visit_elements(qkv.dtype(), [&]<class T>(T) {
        const BackwardInputs<T> in{data<T>(d_o),     data<T>(qkv),       data<int32_t>(starts), data<T>(o),
                                   data<float>(lse), data<float>(delta), data<T>(dqkv),         shape};
        launch(deltas<T>, queries, threads, 0, ctx.stream(), in);
        if (flash::fits(qkv.dtype(), shape)) {
            return flash::attention_backward(ctx, d_o, qkv, starts, lse, delta, shape, dqkv);
        }
        launch(backward_queries<T>, queries, threads, 0, ctx.stream(), in);
        launch(backward_keys<T>, grid_of(shape.seq * shape.kv_heads, shape.batch), threads, 0, ctx.stream(),
               in);
    });
}

void attention_cached(Context& ctx, const Tensor& q, const Tensor& keys, const Tensor& values, int64_t length,
                      const AttentionShape& shape, Tensor& o) {
    expect_width(shape);
    const int64_t stride = shape.kv_heads * shape.head_dim;
    visit_elements(q.dtype(), [&]<class T>(T) {
        const ForwardInputs<T> in{{data<T>(q), shape.query_heads * shape.head_dim},
                                  {data<T>(keys), stride},
                                  {data<T>(values), stride},
                                  0,
                                  0,
                                  length - shape.seq,
                                  nullptr,
                                  shape};
        launch(forward<T>, grid_of(shape.seq * shape.query_heads, 1), threads, 0, ctx.stream(), in,
               data<T>(o), static_cast<float*>(nullptr));
    });
}

}  // namespace espalier::cuda
