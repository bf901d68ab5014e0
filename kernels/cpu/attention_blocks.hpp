// What the passes of attention share: which keys a tile of queries sees, and heads laid out for
// multiply_tile.
#pragma once

#include <algorithm>

#include "kernels/attention_heads.hpp"
#include "kernels/cpu/tile.hpp"
#include "src/core/exact.hpp"

namespace espalier::cpu {

constexpr int64_t round_up(int64_t n, int64_t unit) {
    return div_ceil(n, unit) * unit;
}

/// Sides of a head in f32, padded with zeros so that no tile needs a remainder loop.
struct PaddedHead {
    explicit PaddedHead(const AttentionShape& shape)
        : rows(round_up(shape.seq, 3 * tile_columns)), width(round_up(shape.head_dim, tile_columns)) {}
    static_assert(3 * tile_columns % tile_rows == 0);

    int64_t rows;
    int64_t width;
    int64_t size() const { return rows * width; }
};

/// Which keys the queries of one sequence see. Both ends only grow from query to query.
struct View {
    int64_t seq;
    int64_t window;
    const int32_t* starts;  // [seq], or nullptr

    /// q may lie beyond the sequence, in the padding of a tile.
    int64_t oldest(int64_t q) const {
        const int64_t start = starts ? starts[std::min(q, seq - 1)] : 0;
        return window > 0 ? std::max(start, q - window + 1) : start;
    }
    /// The first query that sees none of the keys before `end`.
    int64_t blind(int64_t end) const {
        const int64_t other = starts ? std::lower_bound(starts, starts + seq, end) - starts : seq;
        return window > 0 ? std::min(other, end - 1 + window) : other;
    }
};

inline View view_of(const AttentionShape& shape, const Tensor& starts, int64_t batch) {
    return {shape.seq, shape.window, starts ? starts.data<int32_t>() + batch * shape.seq : nullptr};
}

/// The keys of `block` that query q sees.
inline Range seen_by(const View& view, int64_t q, Range block) {
    const int64_t begin = std::clamp(view.oldest(q), block.begin, block.end);
    const int64_t end = std::min({block.end, q + 1, view.seq});
    return {begin, std::max(begin, end)};
}

/// The keys of `block` that any of the tile_rows queries from q on sees; begins at a column of tiles.
inline Range seen_by_tile(const View& view, int64_t q, Range block) {
    const int64_t begin = seen_by(view, q, block).begin / tile_columns * tile_columns;
    return {begin, std::max(begin, seen_by(view, q + tile_rows - 1, block).end)};
}

/// to [to_rows, to_width] = factor * from [rows, width], the rest 0; rows of `from` are `stride` apart.
template <class T>
void pack_rows(const T* from, int64_t stride, int64_t rows, int64_t width, float factor, float* to,
               int64_t to_rows, int64_t to_width) {
    for (int64_t i = 0; i < rows; ++i, from += stride, to += to_width) {
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) to[j] = factor * static_cast<float>(from[j]);
        std::fill(to + width, to + to_width, 0.0f);
    }
    std::fill_n(to, (to_rows - rows) * to_width, 0.0f);
}

/// to [to_rows / tile_columns, width, tile_columns] = from [rows, width] transposed, the rest 0.
template <class T>
void pack_transposed(const T* from, int64_t stride, int64_t rows, int64_t width, float* to, int64_t to_rows) {
    for (int64_t i = 0; i < to_rows; i += tile_columns, to += width * tile_columns) {
        const int64_t count = std::clamp<int64_t>(rows - i, 0, tile_columns);
        for (int64_t c = 0; c < count; ++c) {
            const T* const row = from + (i + c) * stride;
            for (int64_t j = 0; j < width; ++j) to[j * tile_columns + c] = static_cast<float>(row[j]);
        }
        for (int64_t j = 0; j < width; ++j) {
            std::fill(to + j * tile_columns + count, to + (j + 1) * tile_columns, 0.0f);
        }
    }
}

}  // namespace espalier::cpu
