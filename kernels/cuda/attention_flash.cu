// Attention in bf16 on the tensor cores. A block has 128 rows of one head, 32 a warp (16 where wide heads'
// sums take the registers), and goes through the other side 64 rows at a time (32 for wide heads and where
// backward keeps two products), so that scores live in registers alone. For heads of 128 forward needs 68 KiB
// of shared memory and all the registers of 2 blocks a multiprocessor; 4 seq^2 head_dim / 2 FLOPs a head
// against 8 seq head_dim bytes leave it bound by the tensor cores from some 600 tokens on.
//
// Backward is two kernels without atomics, so that it repeats bit for bit: one for queries, one for keys and
// values, each making the probabilities anew: 7 products of tiles where one kernel with atomics would do 5.
// Heads wider than 128 have keys and values summed one after the other: 8 products, but no sums outside
// registers.
#include "kernels/cuda/attention_flash.hpp"

#include "kernels/cuda/attention_tiles.cuh"

namespace espalier::cuda::flash {
namespace {

/// Rows of a warp; wide heads' sums take the registers of 16.
template <int D>
constexpr int warp_rows = D > 128 ? 16 : 32;
template <int D>
constexpr int block_rows = warps* warp_rows<D>;
template <int D>
constexpr int tile_rows = D > 128 ? 32 : 64;
/// Backward, where two products of a tile live at a time.
template <int D>
constexpr int small_tile_rows = D > 64 ? 32 : 64;
/// Rows of a warp and a block that have keys in backward: it keeps two sums.
constexpr int key_warp_rows = 16, key_block_rows = warps * key_warp_rows;

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

/// The keys that a query sees.
struct KeysOf {
    const Inputs& in;
    int64_t batch;
    __device__ Span operator()(int64_t q) const { return in.keys(batch, q); }
};

/// Which block of queries is this block's: late ones see most keys, and the longest are to begin first.
__device__ inline int64_t latest_first() {
    return int64_t{gridDim.y - 1 - blockIdx.y};
}

/// What rows of a warp, `first` and on, see of the other side. Spans neither begin nor end before those of
/// earlier rows.
template <int rows, class SpanOf>
struct Sight {
    int64_t first;
    SpanOf span_of;
    Span all;  ///< what every row sees

    __device__ Sight(int64_t first_row, int64_t seq, SpanOf spans) : first(first_row), span_of(spans) {
        const int64_t last = (first + rows < seq ? first + rows : seq) - 1;
        all = {span_of(last).begin, span_of(first).end};
    }

    /// Scores of the tile from `from` on: -inf where a row does not see the column. Tiles inside compare
    /// nothing, only those on an edge: the diagonal, where a window or document begins or ends, the end.
    template <int M, int N>
    __device__ void hide(int64_t from, Rows<M, N>& scores) const {
        if (all.begin <= from && from + 8 * N <= all.end) return;
        int begin[2 * M], end[2 * M];
        ESPALIER_UNROLL
        for (int r = 0; r < 2 * M; ++r) {
            const Span span = span_of(first + row_of(r));
            begin[r] = static_cast<int>(span.begin - from);
            end[r] = static_cast<int>(span.end - from);
        }
        scores.each([&](float& score, int r, int j, int e) {
            const int column = column_of(j, e);
            if (column < begin[r] || column >= end[r]) score = -INFINITY;
        });
    }
};

/// Caps scores where the shape says so, and gives what they are times for exp2. A branch for a tile, so that
/// models without a cap pay nothing for theirs. The largest score stays that where it is multiplied later.
template <int M, int N>
__device__ float cap_scores(const AttentionShape& s, Rows<M, N>& scores) {
    if (s.soft_cap == 0 && s.scale > 0) return s.scale * log2_e;
    scores.each([&](float& score, int, int, int) { score = capped(s, s.scale * score).score; });
    return log2_e;
}

/// ds *= the slope of what cap_scores made.
template <int M, int N>
__device__ void apply_slope(const AttentionShape& s, Rows<M, N>& scores, Rows<M, N>& ds) {
    if (s.soft_cap == 0) return;
    ds.each([&](float& element, int r, int j, int e) {
        const float t = scores.part[r / 2][j][e] / s.soft_cap;
        element *= 1.0f - t * t;
    });
}

template <int D>
__global__ __launch_bounds__(threads, 2) void forward(Inputs in, bf16* o, float* lse) {
    constexpr int M = warp_rows<D> / 16, N = tile_rows<D> / 8, R = 2 * M;
    const AttentionShape& s = in.shape;
    bf16* const queries = dynamic_shared<bf16>();
    bf16* const keys = queries + block_rows<D> * (D + gap);
    bf16* const values = keys + tile_rows<D> * (D + gap);
    const int64_t begin = latest_first() * block_rows<D>, head = blockIdx.x, batch = blockIdx.z;
    const int64_t mine = begin + warp_index() * warp_rows<D>, key_head = in.key_head(head);
    const auto load = [&](bf16* tile, int64_t k, int64_t of_head) {
        load_tile<D, tile_rows<D>>(tile, in.qkv + in.at(batch, k, of_head), in.stride(), s.seq - k,
                                   in.width());
        commit_copies();
    };
    int64_t k = in.first_tile(batch, begin, tile_rows<D>);
    const int64_t end = begin + block_rows<D> < s.seq ? begin + block_rows<D> : s.seq;
    load_tile<D, block_rows<D>>(queries, in.qkv + in.at(batch, begin, head), in.stride(), s.seq - begin,
                                in.width());
    load(keys, k, key_head);

    const Sight<warp_rows<D>, KeysOf> sight(mine, s.seq, {in, batch});
    Rows<M, D / 8> sum;
    float max[R], total[R];  // total: of the lane's own columns
    for (int r = 0; r < R; ++r) max[r] = -INFINITY, total[r] = 0;
    for (; k < end; k += tile_rows<D>) {
        wait_for_copies<0>();
        __syncthreads();  // keys are there, values before them read
        load(values, k, key_head + s.kv_heads);
        Rows<M, N> p;
        multiply_transposed<D>(p, queries + warp_index() * warp_rows<D> * (D + gap), keys);
        wait_for_copies<0>();
        __syncthreads();  // values are there, keys read
        if (k + tile_rows<D> < end) load(keys, k + tile_rows<D>, key_head);
        const float scale = cap_scores(s, p);
        sight.hide(k, p);
        float largest[R], factor[R], shift[R];
        for (int r = 0; r < R; ++r) largest[r] = max[r];
        p.each([&](float& score, int r, int, int) { largest[r] = fmaxf(largest[r], score); });
        for (int r = 0; r < R; ++r) {
            largest[r] = reduce_row<Max>(largest[r]);
            shift[r] =
                largest[r] == -INFINITY ? 0.0f : scale * largest[r];  // a row that has seen nothing yet
            factor[r] = fast_exp2(scale * max[r] - shift[r]);
            max[r] = largest[r];
            total[r] *= factor[r];
        }
        p.each([&](float& score, int r, int, int) {
            score = fast_exp2(scale * score - shift[r]);
            total[r] += score;
        });
        sum.each([&](float& element, int r, int, int) { element *= factor[r]; });
        multiply<D>(sum, p, values);
    }
    for (int r = 0; r < R; ++r) total[r] = reduce_row<Sum>(total[r]);
    write_rows(
        sum, [&](int r) { return 1.0f / total[r]; }, o + in.at_o(batch, mine, head), in.o_stride(),
        s.seq - mine, in.width());
    const float scale = s.soft_cap == 0 && s.scale > 0 ? s.scale : 1.0f;
    for (int r = 0; r < R; ++r) {
        const int64_t q = mine + row_of(r);
        if (lane() % 4 == 0 && q < s.seq)
            lse[in.at_row(batch, q, head)] = scale * max[r] + log2f(total[r]) * ln_2;
    }
}

/// d_q = sum over keys of ds k, ds = p (d_o v - delta).
template <int D>
__global__ __launch_bounds__(threads, 2) void backward_queries(Inputs in, bf16* dqkv) {
    constexpr int rows = small_tile_rows<D>, M = warp_rows<D> / 16, N = rows / 8, R = 2 * M;
    const AttentionShape& s = in.shape;
    bf16* const queries = dynamic_shared<bf16>();
    bf16* const d_out = queries + block_rows<D> * (D + gap);
    bf16* const keys = d_out + block_rows<D> * (D + gap);
    bf16* const values = keys + rows * (D + gap);
    const int64_t begin = latest_first() * block_rows<D>, head = blockIdx.x, batch = blockIdx.z;
    const int first = warp_index() * warp_rows<D> * (D + gap);
    const int64_t mine = begin + warp_index() * warp_rows<D>, key_head = in.key_head(head);
    load_tile<D, block_rows<D>>(queries, in.qkv + in.at(batch, begin, head), in.stride(), s.seq - begin,
                                in.width());
    load_tile<D, block_rows<D>>(d_out, in.d_o + in.at_o(batch, begin, head), in.o_stride(), s.seq - begin,
                                in.width());
    float lse[R] = {}, delta[R] = {};
    for (int r = 0; r < R; ++r) {
        const int64_t q = mine + row_of(r);
        if (q < s.seq) {
            lse[r] = in.lse[in.at_row(batch, q, head)] * log2_e;
            delta[r] = in.delta[in.at_row(batch, q, head)];
        }
    }
    const Sight<warp_rows<D>, KeysOf> sight(mine, s.seq, {in, batch});
    Rows<M, D / 8> d_query;
    for (int64_t k = in.first_tile(batch, begin, rows); k < begin + block_rows<D> && k < s.seq; k += rows) {
        __syncthreads();
        load_tile<D, rows>(keys, in.qkv + in.at(batch, k, key_head), in.stride(), s.seq - k, in.width());
        load_tile<D, rows>(values, in.qkv + in.at(batch, k, key_head + s.kv_heads), in.stride(), s.seq - k,
                           in.width());
        commit_copies();
        wait_for_copies<0>();
        __syncthreads();
        Rows<M, N> p, ds;
        multiply_transposed<D>(p, queries + first, keys);
        multiply_transposed<D>(ds, d_out + first, values);
        const float scale = cap_scores(s, p);
        ds.each([&](float& element, int r, int, int) { element -= delta[r]; });
        apply_slope(s, p, ds);
        sight.hide(k, p);
        ds.each([&](float& element, int r, int j, int e) {
            element *= fast_exp2(scale * p.part[r / 2][j][e] - lse[r]);
        });
        multiply<D>(d_query, ds, keys);
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
    constexpr int rows = small_tile_rows<D>, N = rows / 8;
    const AttentionShape& s = in.shape;
    bf16* const keys = dynamic_shared<bf16>();
    bf16* const values = keys + key_block_rows * (D + gap);
    bf16* const queries = values + key_block_rows * (D + gap);
    bf16* const d_out = queries + rows * (D + gap);
    const int64_t begin = int64_t{blockIdx.y} * key_block_rows, kv = blockIdx.x, batch = blockIdx.z;
    const int first = warp_index() * key_warp_rows * (D + gap);
    const int64_t mine = begin + warp_index() * key_warp_rows;
    const int64_t key_head = s.query_heads + kv, value_head = key_head + s.kv_heads;
    load_tile<D, key_block_rows>(keys, in.qkv + in.at(batch, begin, key_head), in.stride(), s.seq - begin,
                                 in.width());
    load_tile<D, key_block_rows>(values, in.qkv + in.at(batch, begin, value_head), in.stride(), s.seq - begin,
                                 in.width());
    const auto span_of = [&](int64_t k) { return in.queries(batch, k); };
    const Sight<key_warp_rows, decltype(span_of)> sight(mine, s.seq, span_of);
    const int64_t last = (begin + key_block_rows < s.seq ? begin + key_block_rows : s.seq) - 1;
    const int64_t end = in.queries(batch, last).end;
    Rows<1, D / 8> d_key, d_value;
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
            commit_copies();
            wait_for_copies<0>();
            __syncthreads();
            Rows<1, N> p, ds;  // rows are keys, columns queries
            multiply_transposed<D>(p, keys + first, queries);
            const float scale = cap_scores(s, p);
            if constexpr (of_keys) {
                multiply_transposed<D>(ds, values + first, d_out);
                ds.each([&](float& element, int, int j, int e) {
                    element -= beside_row<D>(d_out, column_of(j, e));
                });
                apply_slope(s, p, ds);
            }
            sight.hide(q, p);
            p.each([&](float& score, int, int j, int e) {
                score = fast_exp2(scale * score - beside_row<D>(queries, column_of(j, e)));
                if constexpr (of_keys) ds.part[0][j][e] *= score;
            });
            if constexpr (of_values) multiply<D>(d_value, p, d_out);
            if constexpr (of_keys) multiply<D>(d_key, ds, queries);
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
dim3 grid_of(const AttentionShape& s, int64_t heads, int rows) {
    return {narrow<unsigned>(heads), blocks_for(s.seq, rows), narrow<unsigned>(s.batch)};
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
        launch(forward<D>, grid_of(shape, shape.query_heads, block_rows<D>), threads,
               shared_bytes<D>(block_rows<D> + 2 * tile_rows<D>), ctx.stream(), in, data<bf16>(o),
               data<float>(lse));
    });
}

void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& lse, const Tensor& delta, const AttentionShape& shape, Tensor& dqkv) {
    const Inputs in{data<bf16>(qkv),  data<int32_t>(starts), data<bf16>(d_o),
                    data<float>(lse), data<float>(delta),    shape};
    with_width(shape.head_dim, [&]<int D>() {
        launch(backward_queries<D>, grid_of(shape, shape.query_heads, block_rows<D>), threads,
               shared_bytes<D>(2 * block_rows<D> + 2 * small_tile_rows<D>), ctx.stream(), in,
               data<bf16>(dqkv));
        const auto over_queries = [&](auto kernel) {
            launch(kernel, grid_of(shape, shape.kv_heads, key_block_rows), threads,
                   shared_bytes<D>(2 * key_block_rows + 2 * small_tile_rows<D>), ctx.stream(), in,
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
