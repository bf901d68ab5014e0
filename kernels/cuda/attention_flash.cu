// Attention in bf16 on the tensor cores. A block has 64 rows of one head, 16 a warp, and goes through the
// other side 64 rows at a time (32 where wide heads' sums take the registers), so that scores live in
// registers alone. For heads of 128 forward needs 51 KiB of shared memory and about 160 registers: 3 blocks a
// multiprocessor; 4 seq^2 head_dim / 2 FLOPs a head against 8 seq head_dim bytes leave it bound by the tensor
// cores from some 600 tokens on.
//
// Backward is two kernels without atomics, so that it repeats bit for bit: one for queries, one for keys and
// values, each making the probabilities anew: 7 products of tiles where one kernel with atomics would do 5.
// Heads wider than 128 have keys and values summed one after the other: 8 products, but no sums outside
// registers.
#include "kernels/cuda/attention_flash.hpp"

#include "kernels/cuda/attention_tiles.cuh"

namespace espalier::cuda::flash {
namespace {

template <int D>
constexpr int tile_rows = D > 128 ? 32 : 64;
/// Where a block has keys: it keeps two sums.
template <int D>
constexpr int query_tile_rows = D > 64 ? 32 : 64;

constexpr float log2_e = 1.44269504f, ln_2 = 0.693147181f;

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
    return int64_t{gridDim.y - 1 - blockIdx.y};
}

/// What the rows of a lane see of the other side, and what every row of its warp sees.
struct Sight {
    Span rows[2], all;

    /// Scores of the tile from `first` on: -inf where a row does not see the column. Tiles inside compare
    /// nothing, only those on an edge: the diagonal, where a window or document begins or ends, the end.
    template <int N>
    __device__ void hide(int64_t first, Rows<N>& scores) const {
        if (all.begin <= first && first + 8 * N <= all.end) return;
        for (int j = 0; j < N; ++j) {
            for (int e = 0; e < 4; ++e) {
                const int column = column_of(j, e);
                const bool sees = column >= static_cast<int>(rows[e / 2].begin - first) &&
                                  column < static_cast<int>(rows[e / 2].end - first);
                if (!sees) scores.part[j][e] = -INFINITY;
            }
        }
    }
};

/// Of the warp whose first row is `first`, in a sequence of `seq`. Spans neither begin nor end before those
/// of earlier rows.
template <class SpanOf>
__device__ Sight sight_of(int64_t first, int64_t seq, SpanOf span_of) {
    const int64_t last = (first + warp_rows < seq ? first + warp_rows : seq) - 1;
    return {{span_of(first + row_of(0)), span_of(first + row_of(2))},
            {span_of(last).begin, span_of(first).end}};
}

/// part = log2(e) * scale * part, capped: what exp2f takes. A branch for a tile, so that models without a cap
/// pay nothing for theirs.
template <int N>
__device__ void scale_scores(const AttentionShape& s, Rows<N>& scores) {
    const float factor = s.soft_cap == 0 ? s.scale * log2_e : s.scale;
    for (int j = 0; j < N; ++j) {
        for (int e = 0; e < 4; ++e) scores.part[j][e] *= factor;
    }
    if (s.soft_cap == 0) return;
    for (int j = 0; j < N; ++j) {
        for (int e = 0; e < 4; ++e) scores.part[j][e] = capped(s, scores.part[j][e]).score * log2_e;
    }
}

/// ds *= the slope of what scale_scores made.
template <int N>
__device__ void apply_slope(const AttentionShape& s, const Rows<N>& scores, Rows<N>& ds) {
    if (s.soft_cap == 0) return;
    for (int j = 0; j < N; ++j) {
        for (int e = 0; e < 4; ++e) {
            const float t = scores.part[j][e] * ln_2 / s.soft_cap;
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
    const int64_t begin = latest_first() * block_rows, head = blockIdx.x, batch = blockIdx.z;
    const int64_t mine = begin + warp_index() * warp_rows, key_head = in.key_head(head);
    load_tile<D, block_rows>(queries, in.qkv + in.at(batch, begin, head), in.stride(), s.seq - begin,
                             in.width());

    const Sight sight = sight_of(mine, s.seq, [&](int64_t q) { return in.keys(batch, q); });
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
        sight.hide(k, p);
        float largest[2] = {max[0], max[1]};
        for (int j = 0; j < N; ++j) {
            for (int e = 0; e < 4; ++e) largest[e / 2] = fmaxf(largest[e / 2], p.part[j][e]);
        }
        float factor[2], shift[2], part[2] = {};
        for (int r = 0; r < 2; ++r) {
            largest[r] = reduce_row<Max>(largest[r]);
            shift[r] = largest[r] == -INFINITY ? 0.0f : largest[r];  // a row that has seen nothing yet
            factor[r] = fast_exp2(max[r] - shift[r]);
            max[r] = largest[r];
        }
        for (int j = 0; j < N; ++j) {
            for (int e = 0; e < 4; ++e) {
                p.part[j][e] = fast_exp2(p.part[j][e] - shift[e / 2]);
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
        if (lane() % 4 == 0 && q < s.seq) lse[in.at_row(batch, q, head)] = (max[r] + log2f(total[r])) * ln_2;
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
    const int64_t begin = latest_first() * block_rows, head = blockIdx.x, batch = blockIdx.z;
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
            lse[r] = in.lse[in.at_row(batch, q, head)] * log2_e;
            delta[r] = in.delta[in.at_row(batch, q, head)];
        }
    }
    const Sight sight = sight_of(mine, s.seq, [&](int64_t q) { return in.keys(batch, q); });
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
        sight.hide(k, p);
        for (int j = 0; j < N; ++j) {
            for (int e = 0; e < 4; ++e) dp.part[j][e] *= fast_exp2(p.part[j][e] - lse[e / 2]);
        }
        multiply<D, N>(d_query, dp, keys);
    }
    write_rows(
        d_query, [&](int) { return s.scale; }, dqkv + in.at(batch, mine, head), in.stride(), s.seq - mine,
        in.width());
}

/// A float in the gap after a row of a tile.
template <int D>
__device__ float& beside_row(bf16* tile, int row) {
    return *reinterpret_cast<float*>(tile + row * (D + gap) + D);
}

/// The sums that a launch keeps: of heads wider than 128 both do not fit a thread's registers.
enum class Sums { both, keys, values };

/// d_k = sum over queries of ds q, d_v = sum of p d_o, over every query head that reads this KV head. The
/// first keys, which most queries see, begin first. lse and delta stand beside the rows of queries and d_o.
template <int D, Sums sums>
__global__ void backward_keys(Inputs in, bf16* dqkv) {
    constexpr bool of_keys = sums != Sums::values, of_values = sums != Sums::keys;
    constexpr int rows = query_tile_rows<D>, N = rows / 8;
    const AttentionShape& s = in.shape;
    bf16* const keys = dynamic_shared<bf16>();
    bf16* const values = keys + block_rows * (D + gap);
    bf16* const queries = values + block_rows * (D + gap);
    bf16* const d_out = queries + rows * (D + gap);
    const int64_t begin = int64_t{blockIdx.y} * block_rows, kv = blockIdx.x, batch = blockIdx.z;
    const int first = warp_index() * warp_rows * (D + gap);
    const int64_t mine = begin + warp_index() * warp_rows;
    const int64_t key_head = s.query_heads + kv, value_head = key_head + s.kv_heads;
    load_tile<D, block_rows>(keys, in.qkv + in.at(batch, begin, key_head), in.stride(), s.seq - begin,
                             in.width());
    load_tile<D, block_rows>(values, in.qkv + in.at(batch, begin, value_head), in.stride(), s.seq - begin,
                             in.width());
    const Sight sight = sight_of(mine, s.seq, [&](int64_t k) { return in.queries(batch, k); });
    const int64_t last = (begin + block_rows < s.seq ? begin + block_rows : s.seq) - 1;
    const int64_t end = in.queries(batch, last).end;
    Rows<D / 8> d_key, d_value;
    for (int64_t head = 0; head < s.query_heads; ++head) {
        if (kv_head_of(s, head) != kv) continue;
        for (int64_t q = begin; q < end; q += rows) {
            __syncthreads();
            load_tile<D, rows>(queries, in.qkv + in.at(batch, q, head), in.stride(), s.seq - q, in.width());
            load_tile<D, rows>(d_out, in.d_o + in.at_o(batch, q, head), in.o_stride(), s.seq - q, in.width());
            for (int i = static_cast<int>(threadIdx.x); i < rows; i += threads) {
                const bool inside = q + i < s.seq;
                const int64_t at = in.at_row(batch, q + i, head);
                beside_row<D>(queries, i) = inside ? in.lse[at] * log2_e : 0.0f;
                beside_row<D>(d_out, i) = inside ? in.delta[at] : 0.0f;
            }
            __syncthreads();
            Rows<N> p, ds;  // rows are keys, columns queries
            multiply_transposed<D, N>(p, keys + first, queries);
            scale_scores(s, p);
            if constexpr (of_keys) {
                multiply_transposed<D, N>(ds, values + first, d_out);
                for (int j = 0; j < N; ++j) {
                    for (int e = 0; e < 4; ++e) ds.part[j][e] -= beside_row<D>(d_out, column_of(j, e));
                }
                apply_slope(s, p, ds);
            }
            sight.hide(q, p);
            for (int j = 0; j < N; ++j) {
                for (int e = 0; e < 4; ++e) {
                    p.part[j][e] = fast_exp2(p.part[j][e] - beside_row<D>(queries, column_of(j, e)));
                    if constexpr (of_keys) ds.part[j][e] *= p.part[j][e];
                }
            }
            if constexpr (of_values) multiply<D, N>(d_value, p, d_out);
            if constexpr (of_keys) multiply<D, N>(d_key, ds, queries);
        }
    }
    if constexpr (of_keys) {
        write_rows(
            d_key, [&](int) { return s.scale; }, dqkv + in.at(batch, mine, key_head), in.stride(),
            s.seq - mine, in.width());
    }
    if constexpr (of_values) {
        write_rows(
            d_value, [](int) { return 1.0f; }, dqkv + in.at(batch, mine, value_head), in.stride(),
            s.seq - mine, in.width());
    }
}

template <class F>
void with_width(int64_t head_dim, F&& f) {
    if (head_dim <= 64) return f.template operator()<64>();
    if (head_dim <= 128) return f.template operator()<128>();
    return f.template operator()<256>();
}

/// Blocks begin in the order of x: the longest of every head before the shorter ones of any.
dim3 grid_of(const AttentionShape& s, int64_t heads) {
    return {narrow<unsigned>(heads), blocks_for(s.seq, block_rows), narrow<unsigned>(s.batch)};
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
        launch(backward_queries<D>, grid_of(shape, shape.query_heads), threads,
               shared_bytes<D>(2 * block_rows + 2 * tile_rows<D>), ctx.stream(), in, data<bf16>(dqkv));
        const auto over_queries = [&](auto kernel) {
            launch(kernel, grid_of(shape, shape.kv_heads), threads,
                   shared_bytes<D>(2 * block_rows + 2 * query_tile_rows<D>), ctx.stream(), in,
                   data<bf16>(dqkv));
        };
        if constexpr (D > 128) {
            over_queries(backward_keys<D, Sums::keys>);
            over_queries(backward_keys<D, Sums::values>);
        } else {
            over_queries(backward_keys<D, Sums::both>);
        }
    });
}

}  // namespace espalier::cuda::flash
