// What the forward and backward passes of attention on the tensor cores share: where heads and tokens stand,
// what queries and keys see of each other, and what becomes of scores.
#pragma once

#include "kernels/cuda/attention_tiles.cuh"

namespace espalier::cuda::flash {

/// Rows of a warp; wide heads' sums take the registers of 16.
template <int D>
constexpr int warp_rows = D > 128 ? 16 : 32;
template <int D>
constexpr int block_rows{warps * warp_rows<D>};

constexpr float log2_e = 1.44269504f, ln_2 = 0.693147181f;

/// Of a launch; shapes are those of kernels/attention.hpp, delta as lse.
struct Inputs {
    const bf16* qkv;
    const int32_t* starts;
    const bf16* d_o;
    const float* lse;
    const float* delta;
    AttentionShape shape;

    __device__ int width() const { return static_cast<int>(shape.head_dim); }
    __device__ int64_t stride() const { return qkv_width(shape); }
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
    __device__ int first_tile(int64_t batch, int64_t q, int rows) const {
        return static_cast<int>(keys(batch, q).begin) / rows * rows;
    }
    template <int D>
    __device__ Source<D> rows_of(int64_t batch, int64_t head) const {
        return {qkv + at(batch, 0, head), stride(), shape.seq, shape.head_dim};
    }
    template <int D>
    __device__ Source<D> d_o_of(int64_t batch, int64_t head) const {
        return {d_o + at_o(batch, 0, head), o_stride(), shape.seq, shape.head_dim};
    }
};

/// Which block of queries is this block's: late ones see most keys, and the longest are to begin first.
__device__ inline int latest_first() {
    return static_cast<int>(gridDim.y - 1 - blockIdx.y);
}

/// What the rows of a warp see of the other side: every one of them, and any.
struct Sight {
    int begin_of_all, end_of_all, begin_of_any, end_of_any;

    __device__ bool sees(int from, int columns) const {
        return begin_of_any < from + columns && from < end_of_any;
    }

    /// Scores of the tile from `from` on: -inf where a row does not see the column; span_of(r) is what row r
    /// sees. Tiles inside compare nothing, only those on an edge: the diagonal, where a window or document
    /// begins or ends, the end.
    template <int M, int N, class SpanOf>
    __device__ void hide(int from, Rows<M, N>& scores, SpanOf span_of) const {
        if (begin_of_all <= from && from + 8 * N <= end_of_all) return;
        int begin[2 * M], end[2 * M];
        ESPALIER_UNROLL
        for (int r = 0; r < 2 * M; ++r) {
            const Span span = span_of(r);
            begin[r] = static_cast<int>(span.begin) - from;
            end[r] = static_cast<int>(span.end) - from;
        }
        scores.each([&](float& score, int r, int j, int e) {
            const int column = column_of(j, e);
            if (column < begin[r] || column >= end[r]) score = -INFINITY;
        });
    }
};

/// Of a warp's `rows` from `first` on, in a sequence of `seq`. Spans neither begin nor end before those of
/// earlier rows.
template <int rows, class SpanOf>
__device__ Sight sight_of(int first, int64_t seq, SpanOf span_of) {
    int last = first + rows - 1;
    if (last >= seq && first < seq) last = static_cast<int>(seq) - 1;
    const Span early = span_of(first), late = span_of(last);
    return {uniform(static_cast<int>(late.begin)), uniform(static_cast<int>(early.end)),
            uniform(static_cast<int>(early.begin)), uniform(static_cast<int>(late.end))};
}

/// Whether scores go to exp2 as the product gave them: then the largest of them is that of the scaled ones.
__device__ inline bool scales_late(const AttentionShape& s) {
    return s.soft_cap == 0 && s.scale > 0;
}

/// Caps scores where the shape says so, and gives what they are times for exp2. A branch for a tile, so that
/// models without a cap pay nothing for theirs.
template <int M, int N>
__device__ float cap_scores(const AttentionShape& s, Rows<M, N>& scores) {
    if (scales_late(s)) return s.scale * log2_e;
    scores.each([&](float& score, int, int, int) { score *= s.scale; });
    if (s.soft_cap == 0) return log2_e;
    const float inverse = 1.0f / s.soft_cap;
    scores.each([&](float& score, int, int, int) { score = s.soft_cap * tanhf(inverse * score); });
    return log2_e;
}

/// The slope of what cap_scores made of a score; 0 of hidden ones.
__device__ inline float slope_at(float inverse_cap, float score) {
    const float t = inverse_cap * score;
    return fmaxf(1.0f - t * t, 0.0f);
}

template <class F>
void with_width(int64_t head_dim, F&& f) {
    if (head_dim <= 64) return f.template operator()<64>();
    if (head_dim <= 128) return f.template operator()<128>();
    return f.template operator()<256>();
}

/// Blocks begin in the order of x: the longest of every head before the shorter ones of any.
inline dim3 grid_of(const AttentionShape& s, int64_t heads, int rows) {
    return {narrow<unsigned>(heads), blocks_for(s.seq, rows), narrow<unsigned>(s.batch)};
}

template <int D>
size_t shared_bytes(int rows) {
    return static_cast<size_t>(rows) * (D + gap) * sizeof(bf16);
}

}  // namespace espalier::cuda::flash
