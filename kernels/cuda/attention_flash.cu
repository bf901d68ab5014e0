// Attention in bf16 on the tensor cores. A block has 64 rows of one head, 16 a warp, and goes through the
// other side 64 rows at a time (32 where heads are wider than 128), so that scores live in registers alone.
// For heads of 128 forward needs 52 KiB of shared memory and about 160 registers: 3 blocks a multiprocessor;
// 4 seq^2 head_dim / 2 FLOPs a head against 8 seq head_dim bytes leave it bound by the tensor cores from some
// 600 tokens on.
//
// Backward is two kernels without atomics, so that it repeats bit for bit: one for queries, one for keys and
// values, each making the probabilities anew: 7 products of tiles where one kernel with atomics would do 5.
#include "kernels/cuda/attention_flash.hpp"

#include "kernels/cuda/attention_tiles.cuh"

namespace espalier::cuda::flash {
namespace {

template <int D>
constexpr int tile_rows = D > 128 ? 32 : 64;

struct Inputs {
    const bf16* qkv;
    const int32_t* starts;
    const bf16* d_o;
    const float* lse;
    const float* delta;
    AttentionShape shape;

    __device__ int width() const { return static_cast<int>(shape.head_dim); }
    __device__ int64_t stride() const { return (shape.query_heads + 2 * shape.kv_heads) * shape.head_dim; }
    __device__ int64_t o_stride() const { return shape.query_heads * shape.head_dim; }
    /// Heads count through queries, keys and values.
    __device__ int64_t at(int64_t batch, int64_t token, int64_t head) const {
        return (batch * shape.seq + token) * stride() + head * shape.head_dim;
    }
    __device__ int64_t at_o(int64_t batch, int64_t token, int64_t head) const {
        return (batch * shape.seq + token) * o_stride() + head * shape.head_dim;
    }
    __device__ int64_t key_head(int64_t head) const { return shape.query_heads + kv_head_of(shape, head); }
    __device__ int64_t at_row(int64_t batch, int64_t token, int64_t head) const {
        return (batch * shape.query_heads + head) * shape.seq + token;
    }
    /// Zero for rows past the end of the sequence.
    __device__ Span keys(int64_t batch, int64_t q) const {
        if (q >= shape.seq) return {0, 0};
        return keys_of(q, shape.window, starts_of(starts, batch, shape.seq));
    }
    __device__ Span queries(int64_t batch, int64_t k) const {
        if (k >= shape.seq) return {0, 0};
        return queries_of(k, shape.seq, shape.window, starts_of(starts, batch, shape.seq));
    }
    /// Where tiles of keys begin for queries from q on.
    __device__ int64_t first_tile(int64_t batch, int64_t q, int rows) const {
        return keys(batch, q).begin / rows * rows;
    }
};

/// Which block of queries is this block's: late ones see most keys, and the longest are to begin first.
__device__ inline int64_t latest_first() {
    return int64_t{gridDim.x - 1 - blockIdx.x};
}

/// part = scale * part, capped. A branch for a tile, so that models without a cap pay nothing for theirs.
template <int N>
__device__ void scale_scores(const AttentionShape& s, Rows<N>& scores) {
    for (int j = 0; j < N; ++j) {
        for (int e = 0; e < 4; ++e) scores.part[j][e] *= s.scale;
    }
    if (s.soft_cap == 0) return;
    for (int j = 0; j < N; ++j) {
        for (int e = 0; e < 4; ++e) scores.part[j][e] = capped(s, scores.part[j][e]).score;
    }
}

/// ds *= the slope of what scale_scores made.
template <int N>
__device__ void apply_slope(const AttentionShape& s, const Rows<N>& scores, Rows<N>& ds) {
    if (s.soft_cap == 0) return;
    for (int j = 0; j < N; ++j) {
        for (int e = 0; e < 4; ++e) {
            const float t = scores.part[j][e] / s.soft_cap;
            ds.part[j][e] *= 1.0f - t * t;
        }
    }
}

template <int D>
__global__ void forward(Inputs in, bf16* o, float* lse) {
    constexpr int N = tile_rows<D> / 8;
    const AttentionShape& s = in.shape;
    bf16* const queries = dynamic_shared<bf16>();
    bf16* const keys = queries + block_rows * (D + gap);
    bf16* const values = keys + tile_rows<D> * (D + gap);
    const int64_t begin = latest_first() * block_rows, head = blockIdx.y, batch = blockIdx.z;
    const int64_t mine = begin + warp_index() * warp_rows, key_head = in.key_head(head);
    load_tile<D, block_rows>(queries, in.qkv + in.at(batch, begin, head), in.stride(), s.seq - begin,
                             in.width());

    const Span seen[2] = {in.keys(batch, mine + row_of(0)), in.keys(batch, mine + row_of(2))};
    Rows<D / 8> sum;
    float max[2] = {-INFINITY, -INFINITY}, total[2] = {};
    for (int64_t k = in.first_tile(batch, begin, tile_rows<D>); k < begin + block_rows && k < s.seq;
         k += tile_rows<D>) {
        __syncthreads();  // the tile before is read
        load_tile<D, tile_rows<D>>(keys, in.qkv + in.at(batch, k, key_head), in.stride(), s.seq - k,
                                   in.width());
        load_tile<D, tile_rows<D>>(values, in.qkv + in.at(batch, k, key_head + s.kv_heads), in.stride(),
                                   s.seq - k, in.width());
        __syncthreads();
        Rows<N> p;
        multiply_transposed<D, N>(p, queries + warp_index() * warp_rows * (D + gap), keys);
        scale_scores(s, p);
        float largest[2] = {max[0], max[1]};
        for (int j = 0; j < N; ++j) {
            for (int e = 0; e < 4; ++e) {
                if (!seen[e / 2].contains(k + column_of(j, e))) p.part[j][e] = -INFINITY;
                largest[e / 2] = fmaxf(largest[e / 2], p.part[j][e]);
            }
        }
        float factor[2], shift[2], part[2] = {};
        for (int r = 0; r < 2; ++r) {
            largest[r] = reduce_row<Max>(largest[r]);
            shift[r] = largest[r] == -INFINITY ? 0.0f : largest[r];  // a row that has seen nothing yet
            factor[r] = expf(max[r] - shift[r]);
            max[r] = largest[r];
        }
        for (int j = 0; j < N; ++j) {
            for (int e = 0; e < 4; ++e) {
                p.part[j][e] = expf(p.part[j][e] - shift[e / 2]);
                part[e / 2] += p.part[j][e];
            }
        }
        for (int r = 0; r < 2; ++r) total[r] = total[r] * factor[r] + reduce_row<Sum>(part[r]);
        for (int j = 0; j < D / 8; ++j) {
            for (int e = 0; e < 4; ++e) sum.part[j][e] *= factor[e / 2];
        }
        multiply<D, N>(sum, p, values);
    }
    write_rows(
        sum, [&](int r) { return 1.0f / total[r]; }, o + in.at_o(batch, mine, head), in.o_stride(),
        s.seq - mine, in.width());
    for (int r = 0; r < 2; ++r) {
        const int64_t q = mine + row_of(2 * r);
        if (lane() % 4 == 0 && q < s.seq) lse[in.at_row(batch, q, head)] = max[r] + logf(total[r]);
    }
}

/// d_q = sum over keys of ds k, ds = p (d_o v - delta).
template <int D>
__global__ void backward_queries(Inputs in, bf16* dqkv) {
    constexpr int N = tile_rows<D> / 8;
    const AttentionShape& s = in.shape;
    bf16* const queries = dynamic_shared<bf16>();
    bf16* const d_out = queries + block_rows * (D + gap);
    bf16* const keys = d_out + block_rows * (D + gap);
    bf16* const values = keys + tile_rows<D> * (D + gap);
    const int64_t begin = latest_first() * block_rows, head = blockIdx.y, batch = blockIdx.z;
    const int first = warp_index() * warp_rows * (D + gap);
    const int64_t mine = begin + warp_index() * warp_rows, key_head = in.key_head(head);
    load_tile<D, block_rows>(queries, in.qkv + in.at(batch, begin, head), in.stride(), s.seq - begin,
                             in.width());
    load_tile<D, block_rows>(d_out, in.d_o + in.at_o(batch, begin, head), in.o_stride(), s.seq - begin,
                             in.width());
    float lse[2] = {}, delta[2] = {};
    for (int r = 0; r < 2; ++r) {
        const int64_t q = mine + row_of(2 * r);
        if (q < s.seq) {
            lse[r] = in.lse[in.at_row(batch, q, head)];
            delta[r] = in.delta[in.at_row(batch, q, head)];
        }
    }
    const Span seen[2] = {in.keys(batch, mine + row_of(0)), in.keys(batch, mine + row_of(2))};
    Rows<D / 8> d_query;
    for (int64_t k = in.first_tile(batch, begin, tile_rows<D>); k < begin + block_rows && k < s.seq;
         k += tile_rows<D>) {
        __syncthreads();
        load_tile<D, tile_rows<D>>(keys, in.qkv + in.at(batch, k, key_head), in.stride(), s.seq - k,
                                   in.width());
        load_tile<D, tile_rows<D>>(values, in.qkv + in.at(batch, k, key_head + s.kv_heads), in.stride(),
                                   s.seq - k, in.width());
        __syncthreads();
        Rows<N> p, dp;
        multiply_transposed<D, N>(p, queries + first, keys);
        multiply_transposed<D, N>(dp, d_out + first, values);
        scale_scores(s, p);
        for (int j = 0; j < N; ++j) {
            for (int e = 0; e < 4; ++e) dp.part[j][e] -= delta[e / 2];
        }
        apply_slope(s, p, dp);
        for (int j = 0; j < N; ++j) {
            for (int e = 0; e < 4; ++e) {
                const bool sees = seen[e / 2].contains(k + column_of(j, e));
                dp.part[j][e] *= sees ? expf(p.part[j][e] - lse[e / 2]) : 0.0f;
            }
        }
        multiply<D, N>(d_query, dp, keys);
    }
    write_rows(
        d_query, [&](int) { return s.scale; }, dqkv + in.at(batch, mine, head), in.stride(), s.seq - mine,
        in.width());
}

/// d_k = sum over queries of ds q, d_v = sum of p d_o, over every query head that reads this KV head.
template <int D>
__global__ void backward_keys(Inputs in, bf16* dqkv) {
    constexpr int N = tile_rows<D> / 8;
    const AttentionShape& s = in.shape;
    bf16* const keys = dynamic_shared<bf16>();
    bf16* const values = keys + block_rows * (D + gap);
    bf16* const queries = values + block_rows * (D + gap);
    bf16* const d_out = queries + tile_rows<D> * (D + gap);
    const int64_t begin = int64_t{blockIdx.x} * block_rows, kv = blockIdx.y, batch = blockIdx.z;
    const int first = warp_index() * warp_rows * (D + gap);
    const int64_t mine = begin + warp_index() * warp_rows;
    const int64_t key_head = s.query_heads + kv, value_head = key_head + s.kv_heads;
    load_tile<D, block_rows>(keys, in.qkv + in.at(batch, begin, key_head), in.stride(), s.seq - begin,
                             in.width());
    load_tile<D, block_rows>(values, in.qkv + in.at(batch, begin, value_head), in.stride(), s.seq - begin,
                             in.width());
    const Span seen[2] = {in.queries(batch, mine + row_of(0)), in.queries(batch, mine + row_of(2))};
    const int64_t last = (begin + block_rows < s.seq ? begin + block_rows : s.seq) - 1;
    const int64_t end = in.queries(batch, last).end;
    Rows<D / 8> d_key, d_value;
    for (int64_t head = 0; head < s.query_heads; ++head) {
        if (kv_head_of(s, head) != kv) continue;
        for (int64_t q = begin / tile_rows<D> * tile_rows<D>; q < end; q += tile_rows<D>) {
            __syncthreads();
            load_tile<D, tile_rows<D>>(queries, in.qkv + in.at(batch, q, head), in.stride(), s.seq - q,
                                       in.width());
            load_tile<D, tile_rows<D>>(d_out, in.d_o + in.at_o(batch, q, head), in.o_stride(), s.seq - q,
                                       in.width());
            __syncthreads();
            Rows<N> p, ds;  // rows are keys, columns queries
            multiply_transposed<D, N>(p, keys + first, queries);
            multiply_transposed<D, N>(ds, values + first, d_out);
            scale_scores(s, p);
            for (int j = 0; j < N; ++j) {
                for (int e = 0; e < 4; ++e) {
                    const int64_t query = q + column_of(j, e);
                    const bool sees = seen[e / 2].contains(query);
                    ds.part[j][e] = sees ? ds.part[j][e] - in.delta[in.at_row(batch, query, head)] : 0.0f;
                }
            }
            apply_slope(s, p, ds);
            for (int j = 0; j < N; ++j) {
                for (int e = 0; e < 4; ++e) {
                    const int64_t query = q + column_of(j, e);
                    const bool sees = seen[e / 2].contains(query);
                    p.part[j][e] = sees ? expf(p.part[j][e] - in.lse[in.at_row(batch, query, head)]) : 0.0f;
                    ds.part[j][e] *= p.part[j][e];
                }
            }
            multiply<D, N>(d_value, p, d_out);
            multiply<D, N>(d_key, ds, queries);
        }
    }
    write_rows(
        d_key, [&](int) { return s.scale; }, dqkv + in.at(batch, mine, key_head), in.stride(), s.seq - mine,
        in.width());
    write_rows(
        d_value, [](int) { return 1.0f; }, dqkv + in.at(batch, mine, value_head), in.stride(), s.seq - mine,
        in.width());
}

template <class F>
void with_width(int64_t head_dim, F&& f) {
    if (head_dim <= 64) return f.template operator()<64>();
    if (head_dim <= 128) return f.template operator()<128>();
    return f.template operator()<256>();
}

dim3 grid_of(const AttentionShape& s, int64_t heads) {
    return {blocks_for(s.seq, block_rows), narrow<unsigned>(heads), narrow<unsigned>(s.batch)};
}

template <int D>
size_t shared_bytes(int rows) {
    return static_cast<size_t>(rows) * (D + gap) * sizeof(bf16);
}

}  // namespace

bool fits(DType dtype, const AttentionShape& shape) {
    return dtype == DType::bf16 && shape.head_dim % 16 == 0 && shape.head_dim <= 256;
}

void attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape, Tensor& o,
               Tensor& lse) {
    const Inputs in{data<bf16>(qkv), data<int32_t>(starts), nullptr, nullptr, nullptr, shape};
    with_width(shape.head_dim, [&]<int D>() {
        launch(forward<D>, grid_of(shape, shape.query_heads), threads,
               shared_bytes<D>(block_rows + 2 * tile_rows<D>), ctx.stream(), in, data<bf16>(o),
               data<float>(lse));
    });
}

void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& lse, const Tensor& delta, const AttentionShape& shape, Tensor& dqkv) {
    const Inputs in{data<bf16>(qkv),  data<int32_t>(starts), data<bf16>(d_o),
                    data<float>(lse), data<float>(delta),    shape};
    with_width(shape.head_dim, [&]<int D>() {
        const size_t bytes = shared_bytes<D>(2 * block_rows + 2 * tile_rows<D>);
        launch(backward_queries<D>, grid_of(shape, shape.query_heads), threads, bytes, ctx.stream(), in,
               data<bf16>(dqkv));
        launch(backward_keys<D>, grid_of(shape, shape.kv_heads), threads, bytes, ctx.stream(), in,
               data<bf16>(dqkv));
    });
}

}  // namespace espalier::cuda::flash
