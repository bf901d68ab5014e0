// Attention in bf16 on the tensor cores, backward: two kernels without atomics, so that it repeats bit for
// bit, one for queries, one for keys and values, each making the probabilities anew: 7 products of tiles
// where one kernel with atomics would do 5. Their blocks stay under 99 KiB of shared memory, which every card
// since sm_80 has.
#include "kernels/cuda/attention_flash.cuh"
#include "kernels/cuda/attention_flash.hpp"

namespace espalier::cuda::flash {
namespace {

/// Rows of the other side at a time; more tiles are in use and on their way than forward: of 8 KiB.
template <int D>
constexpr int small_tile_rows = 4096 / D;
/// Warps that have keys in backward, and as many have their values.
constexpr int key_warps = warps / 2;
template <int D>
constexpr int key_block_rows{key_warps * warp_rows<D>};

/// d_q = sum over keys of ds k, ds = p (d_o v - delta).
template <int D>
__global__ __launch_bounds__(threads, 2) void backward_queries(Inputs in, bf16* dqkv) {
    constexpr int rows = small_tile_rows<D>, M = warp_rows<D> / 16, N = rows / 8, R = 2 * M;
    constexpr int tile = rows * (D + gap);
    const AttentionShape& s = in.shape;
    bf16* const queries = dynamic_shared<bf16>();
    bf16* const d_out = queries + block_rows<D> * (D + gap);
    bf16* const values = d_out + block_rows<D> * (D + gap);
    bf16* keys = values + tile;
    bf16* next_keys = keys + tile;
    const int64_t head = blockIdx.x, batch = blockIdx.z;
    const int warp_rows_before = warp_index() * warp_rows<D>;
    const int begin = latest_first() * block_rows<D>, mine = begin + warp_rows_before;
    const int end = static_cast<int>(begin + block_rows<D> < s.seq ? begin + block_rows<D> : s.seq);
    const int first = warp_rows_before * (D + gap);
    const auto source = in.rows_of<D>(batch, in.key_head(head));
    const int64_t to_values = s.kv_heads * s.head_dim;
    int k = in.first_tile(batch, begin, rows);
    in.rows_of<D>(batch, head).template load<block_rows<D>>(queries, begin);
    in.d_o_of<D>(batch, head).template load<block_rows<D>>(d_out, begin);
    source.template load<rows>(keys, k);
    source.at(to_values).template load<rows>(values, k);
    commit_copies();
    const auto load_next = [&](const Source<D>& from, bf16* to) {
        if (k + rows < end) from.template load<rows>(to, k + rows);
        commit_copies();
    };

    float lse[R] = {}, delta[R] = {}, scales[R];
    for (int r = 0; r < R; ++r) {
        const int q = mine + row_of(r);
        scales[r] = s.scale;
        if (q < s.seq) {
            lse[r] = in.lse[in.at_row(batch, q, head)] * log2_e;
            delta[r] = in.delta[in.at_row(batch, q, head)];
        }
    }
    const Sight sight = sight_of<warp_rows<D>>(mine, s.seq, [&](int64_t q) { return in.keys(batch, q); });
    Rows<M, D / 8> d_query;
    for (; k < end; k += rows) {
        wait_for_copies<0>();
        __syncthreads();  // the tiles are there, the keys before them read
        load_next(source, next_keys);
        const bool sees = sight.sees(k, rows);
        Rows<M, N> p, ds;
        if (sees) {
            multiply_transposed<D>(ds, d_out + first, values);
            multiply_transposed<D>(p, queries + first, keys);
        }
        __syncthreads();  // values are read
        load_next(source.at(to_values), values);
        if (sees) {
            const float scale = cap_scores(s, p);
            ds.each([&](float& element, int r, int, int) { element -= delta[r]; });
            if (s.soft_cap != 0) {
                const float inverse = 1.0f / s.soft_cap;
                ds.each([&](float& element, int r, int j, int e) {
                    element *= slope_at(inverse, p.part[r / 2][j][e]);
                });
            }
            sight.hide(k, p, [&](int r) { return in.keys(batch, mine + row_of(r)); });
            ds.each([&](float& element, int r, int j, int e) {
                element *= fast_exp2(scale * p.part[r / 2][j][e] - lse[r]);
            });
            multiply<D>(d_query, ds, keys);
        }
        bf16* const used = keys;
        keys = next_keys;
        next_keys = used;
    }
    write_rows(d_query, scales, dqkv + in.at(batch, mine, head), in.stride(), s.seq - mine, in.width());
}

/// The shared memory of backward_keys. Warps of keys are a tile behind those of values: queries are in use
/// for two tiles.
template <int D>
struct KeysMemory {
    static constexpr int rows = small_tile_rows<D>, tile = rows * (D + gap);
    /// A tile's probabilities, of 16 bytes a lane.
    static constexpr int probability_units = key_warps * (warp_rows<D> / 16) * (rows / 16) * warp;

    bf16* keys = dynamic_shared<bf16>();
    bf16* values = keys + key_block_rows<D> * (D + gap);
    bf16* queries = values + key_block_rows<D> * (D + gap);  // of 3 tiles
    bf16* d_out = queries + 3 * tile;                        // of 2, as the rest
    float* lse = reinterpret_cast<float*>(d_out + 2 * tile);
    float* delta = lse + 2 * rows;
    uint32_t* probabilities = reinterpret_cast<uint32_t*>(delta + 2 * rows);

    static constexpr size_t bytes = (2 * key_block_rows<D> * (D + gap) + 5 * tile) * sizeof(bf16) +
                                    4 * rows * sizeof(float) + 2 * probability_units * sizeof(uint4);

    /// Of tile i; unsigned, whose remainders need no registers for signs.
    __device__ bf16* queries_of(unsigned i) const { return queries + i % 3 * tile; }
    __device__ bf16* d_out_of(unsigned i) const { return d_out + i % 2 * tile; }
    __device__ float* lse_of(unsigned i) const { return lse + i % 2 * rows; }
    __device__ float* delta_of(unsigned i) const { return delta + i % 2 * rows; }
    __device__ uint32_t* probabilities_of(unsigned i) const {
        return probabilities + i % 2 * probability_units * 4;
    }
};

/// p = the probabilities of scores [keys, queries]; `to` gets them rounded, times the slopes of the cap.
template <int M, int N>
__device__ void exponentiate(Rows<M, N>& p, float scale, float soft_cap, const float* lse, uint32_t* to) {
    const auto probability = [&](float score, int j, int e) {
        return fast_exp2(scale * score - log2_e * lse[column_of(j, e)]);
    };
    if (soft_cap == 0) {
        p.each([&](float& score, int, int j, int e) { score = probability(score, j, e); });
        return store_rounded(p, to);
    }
    const float inverse = 1.0f / soft_cap;
    Rows<M, N> with_slope;
    p.each([&](float& score, int r, int j, int e) {
        const float slope = slope_at(inverse, score);
        score = probability(score, j, e);
        with_slope.part[r / 2][j][e] = slope * score;
    });
    store_rounded(with_slope, to);
}

/// d_k = sum over queries of ds q, d_v = sum of p d_o, over every query head that reads this KV head. Half of
/// the warps make p and sum d_v, the others make d_o v - delta and, when p of the tile has come through
/// shared memory (rounded to bf16, times the slopes of the cap), sum d_k: each has one product of a tile and
/// one sum in registers, and nobody waits inside a tile. The first keys, which most queries see, begin first.
template <int D>
__global__ __launch_bounds__(threads, 2) void backward_keys(Inputs in, bf16* dqkv) {
    constexpr int rows = small_tile_rows<D>, M = warp_rows<D> / 16, N = rows / 8, R = 2 * M;
    const AttentionShape& s = in.shape;
    KeysMemory<D> shared;
    const int64_t kv = blockIdx.x, batch = blockIdx.z;
    const int begin = static_cast<int>(blockIdx.y) * key_block_rows<D>;
    const int index = warp_index(), pair = index % key_warps, mine = begin + pair * warp_rows<D>;
    const bool of_values = index < key_warps;
    const int64_t key_head = s.query_heads + kv, value_head = key_head + s.kv_heads;
    const auto q_source = in.rows_of<D>(batch, 0), d_o_source = in.d_o_of<D>(batch, 0);
    in.rows_of<D>(batch, key_head).template load<key_block_rows<D>>(shared.keys, begin);
    in.rows_of<D>(batch, value_head).template load<key_block_rows<D>>(shared.values, begin);
    const auto load = [&](int i, int head, int q) {
        q_source.at(head * s.head_dim).template load<rows>(shared.queries_of(i), q);
        d_o_source.at(head * s.head_dim).template load<rows>(shared.d_out_of(i), q);
        static_assert(2 * rows <= threads);
        const int row = static_cast<int>(threadIdx.x) % rows, kind = static_cast<int>(threadIdx.x) / rows;
        if (kind < 2) {
            copy_4_bytes_later((kind == 0 ? shared.lse_of(i) : shared.delta_of(i)) + row,
                               (kind == 0 ? in.lse : in.delta) + in.at_row(batch, q + row, head),
                               q + row < s.seq);
        }
        commit_copies();
    };

    const auto span_of = [&](int64_t k) { return in.queries(batch, k); };
    const Sight sight = sight_of<warp_rows<D>>(mine, s.seq, span_of);
    int ends[R];
    for (int r = 0; r < R; ++r) ends[r] = static_cast<int>(span_of(mine + row_of(r)).end);
    const int64_t last = (begin + key_block_rows<D> < s.seq ? begin + key_block_rows<D> : s.seq) - 1;
    const int end = static_cast<int>(span_of(last).end);
    const int64_t group_begin = kv * s.group - s.first_in_group, group_end = group_begin + s.group;
    const int end_head = static_cast<int>(group_end < s.query_heads ? group_end : s.query_heads);
    int head = group_begin > 0 ? static_cast<int>(group_begin) : 0, q = begin;
    const int tiles = head < end_head ? (end_head - head) * ((end - begin + rows - 1) / rows) : 0;
    if (tiles > 0) load(0, head, q);

    const bf16* const left = (of_values ? shared.keys : shared.values) + pair * warp_rows<D> * (D + gap);
    shared.probabilities += pair * (shared.probability_units / key_warps) * 4;  // those of its keys
    Rows<M, D / 8> sum;                                                         // of d_v or d_k
    Rows<M, N> p;  // or ds: rows are keys, columns queries
    bool saw = false;
    for (int i = 0; i <= tiles; ++i) {
        wait_for_copies<0>();
        __syncthreads();  // tile i and the probabilities before are there, what was in their place is read
        const bool sees = i < tiles && sight.sees(q, rows);
        const int now = q;
        q += rows;
        if (q >= end) q = begin, ++head;
        if (i + 1 < tiles) load(i + 1, head, q);
        const bf16* const d_out = shared.d_out_of(i);
        if (of_values && sees) {
            p = {};
            multiply_transposed<D>(p, left, shared.queries_of(i));
            const float scale = cap_scores(s, p);
            sight.hide(now, p, [&](int r) { return Span{mine + row_of(r), ends[r]}; });
            exponentiate(p, scale, s.soft_cap, shared.lse_of(i), shared.probabilities_of(i));
            multiply<D>(sum, p, d_out);
        }
        if (!of_values && saw) {
            multiply_by_stored(shared.probabilities_of(i - 1), p);
            multiply<D>(sum, p, shared.queries_of(i - 1));
        }
        if (!of_values && sees) {
            const float* const delta = shared.delta_of(i);
            p = {};
            multiply_transposed<D>(p, left, d_out);
            p.each([&](float& element, int, int j, int e) { element -= delta[column_of(j, e)]; });
        }
        saw = sees;
    }
    float factor[R];
    for (int r = 0; r < R; ++r) factor[r] = of_values ? 1.0f : s.scale;
    write_rows(sum, factor, dqkv + in.at(batch, mine, of_values ? value_head : key_head), in.stride(),
               s.seq - mine, in.width());
}

}  // namespace

void attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                        const Tensor& lse, const Tensor& delta, const AttentionShape& shape, Tensor& dqkv) {
    const Inputs in{data<bf16>(qkv),  data<int32_t>(starts), data<bf16>(d_o),
                    data<float>(lse), data<float>(delta),    shape};
    with_width(shape.head_dim, [&]<int D>() {
        launch(backward_queries<D>, grid_of(shape, shape.query_heads, block_rows<D>), threads,
               shared_bytes<D>(2 * block_rows<D> + 3 * small_tile_rows<D>), ctx.stream(), in,
               data<bf16>(dqkv));
        launch(backward_keys<D>, grid_of(shape, shape.kv_heads, key_block_rows<D>), threads,
               KeysMemory<D>::bytes, ctx.stream(), in, data<bf16>(dqkv));
    });
}

}  // namespace espalier::cuda::flash
