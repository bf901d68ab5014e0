// What the passes of attention share: which keys a tile of queries sees, and heads laid out for BlockProduct.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "kernels/attention_heads.hpp"
#include "kernels/cpu/block_product.hpp"
#include "src/core/bfloat16.hpp"
#include "src/core/exact.hpp"

namespace espalier::cpu {

constexpr int64_t round_up(int64_t n, int64_t unit) {
    return div_ceil(n, unit) * unit;
}

/// Sides of a head, padded with zeros so that no product needs a remainder loop.
struct PaddedHead {
    explicit PaddedHead(const AttentionShape& shape)
        : rows(round_up(shape.seq, block_unit)), width(round_up(shape.head_dim, block_unit)) {}

    int64_t rows;
    int64_t width;
    int64_t size() const { return rows * width; }
    /// Of a transposed head, whose rows would share few cache lines if they were a power of two apart.
    int64_t transposed_stride() const { return rows + block_unit; }
    int64_t transposed_size() const { return width * transposed_stride(); }
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

/// The keys of `block` that any of the block_unit queries from q on sees, in whole units; q and block are
/// such.
inline Range seen_by_tile(const View& view, int64_t q, Range block) {
    const int64_t begin = seen_by(view, q, block).begin / block_unit * block_unit;
    return {begin, std::max(begin, round_up(seen_by(view, q + block_unit - 1, block).end, block_unit))};
}

/// The queries of `block` that any of the block_unit keys from k on is seen by, in whole units.
inline Range seeing_tile(const View& view, int64_t k, Range block) {
    const int64_t begin = std::max(block.begin, k);
    return {begin, std::max(begin, std::min(block.end, round_up(view.blind(k + block_unit), block_unit)))};
}

/// The queries of `block` that see key k.
inline Range seeing_key(const View& view, int64_t k, Range block) {
    const int64_t begin = std::clamp(k, block.begin, block.end);
    return {begin, std::max(begin, std::min({block.end, view.seq, view.blind(k + 1)}))};
}

/// Side of the squares that transpose_square takes.
constexpr int64_t square = 8;

/// to = from transposed, both [square, square] of 4 bytes: floats, or pairs of bf16.
inline void transpose_square(const void* from, int64_t from_bytes, void* to, int64_t to_bytes) {
    using Vector [[gnu::vector_size(square * 4)]] = uint32_t;
    Vector r[square], s[square];
    for (int64_t i = 0; i < square; ++i) {
        std::memcpy(&r[i], static_cast<const std::byte*>(from) + i * from_bytes, sizeof r[i]);
    }
    for (int64_t i = 0; i < square; i += 2) {  // elements of two rows
        s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int64_t i = 0; i < square; i += 4) {  // pairs of them, of four rows
        for (int64_t j = 0; j < 2; ++j) {
            r[i + 2 * j] = __builtin_shufflevector(s[i + j], s[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            r[i + 2 * j + 1] = __builtin_shufflevector(s[i + j], s[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }
    for (int64_t i = 0; i < square / 2; ++i) {  // halves of all
        s[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        s[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    for (int64_t i = 0; i < square; ++i) {
        std::memcpy(static_cast<std::byte*>(to) + i * to_bytes, &s[i], sizeof s[i]);
    }
}

/// to [to_rows, to_width] = from [rows, width], the rest 0; rows of `from` are `stride` apart.
template <class T>
void pack_rows(const T* from, int64_t stride, int64_t rows, int64_t width, T* to, int64_t to_rows,
               int64_t to_width) {
    for (int64_t i = 0; i < rows; ++i, from += stride, to += to_width) {
        std::copy_n(from, width, to);
        std::fill(to + width, to + to_width, T{});
    }
    std::fill_n(to, (to_rows - rows) * to_width, T{});
}

/// to [to_width, to_stride] = from [rows, width] transposed, the rest 0.
template <class T>
void pack_transposed(const T* from, int64_t stride, int64_t rows, int64_t width, T* to, int64_t to_width,
                     int64_t to_stride) {
    constexpr int64_t side = 16;  // of squares whose lines stay in the first-level cache
    for (int64_t d = 0; d < to_width; ++d) std::fill(to + d * to_stride, to + (d + 1) * to_stride, T{});
    for (int64_t i = 0; i < rows; i += side) {
        for (int64_t j = 0; j < width; j += side) {
            for (int64_t d = j; d < std::min(j + side, width); ++d) {
                for (int64_t t = i; t < std::min(i + side, rows); ++t)
                    to[d * to_stride + t] = from[t * stride + d];
            }
        }
    }
}

/// Panels whose columns are the rows of `from` [rows, width], for products of depth `width`:
/// to [to_rows / panel_columns, to_width / panel_depth, panel_columns, panel_depth], the rest 0.
template <class T>
void pack_rows_as_columns(const T* from, int64_t stride, int64_t rows, int64_t width, T* to, int64_t to_rows,
                          int64_t to_width) {
    constexpr int64_t pair = panel_depth<T>, step = panel_columns * pair;
    constexpr int64_t step_bytes = step * sizeof(T);
    for (int64_t i = 0; i < to_rows; i += panel_columns, to += to_width * panel_columns) {
        const int64_t count = std::clamp<int64_t>(rows - i, 0, panel_columns);
        if (count < panel_columns || width < to_width) std::fill_n(to, to_width * panel_columns, T{});
        const int64_t whole = count == panel_columns ? width / (square * pair) * (square * pair) : 0;
        for (int64_t c = 0; c < panel_columns; c += square) {
            for (int64_t d = 0; d < whole; d += square * pair) {
                transpose_square(from + (i + c) * stride + d, stride * int64_t{sizeof(T)},
                                 to + d / pair * step + c * pair, step_bytes);
            }
        }
        for (int64_t c = 0; c < count; ++c) {
            const T* const row = from + (i + c) * stride;
            for (int64_t d = whole; d < width; ++d) to[d / pair * step + c * pair + d % pair] = row[d];
        }
    }
}

/// One step of a panel: to [panel_columns, panel_depth] = from [panel_depth, panel_columns] transposed.
inline void join_rows(const float* from, int64_t, float* to) {
    std::memcpy(to, from, panel_columns * sizeof(float));
}
inline void join_rows(const bfloat16* from, int64_t stride, bfloat16* to) {
    uint32_t pairs[panel_columns];
#pragma omp simd
    for (int64_t c = 0; c < panel_columns; ++c) {
        pairs[c] = from[c].bits | static_cast<uint32_t>(from[stride + c].bits) << 16;
    }
    std::memcpy(to, pairs, sizeof pairs);
}

/// Panels whose columns are the columns of `from` [rows, width], for products of depth `rows`:
/// to [to_width / panel_columns, to_rows / panel_depth, panel_columns, panel_depth], the rest 0.
template <class T>
void pack_panels(const T* from, int64_t stride, int64_t rows, int64_t width, T* to, int64_t to_rows,
                 int64_t to_width) {
    constexpr int64_t pair = panel_depth<T>;
    for (int64_t j = 0; j < to_width; j += panel_columns, to += to_rows * panel_columns) {
        const int64_t count = std::clamp<int64_t>(width - j, 0, panel_columns);
        const int64_t whole = count == panel_columns ? rows / pair * pair : 0;
        if (whole < to_rows) std::fill_n(to, to_rows * panel_columns, T{});
        for (int64_t i = 0; i < whole; i += pair)
            join_rows(from + i * stride + j, stride, to + i * panel_columns);
        for (int64_t i = whole; i < rows; ++i) {
            T* const step = to + i / pair * panel_columns * pair + i % pair;
            for (int64_t c = 0; c < count; ++c) step[c * pair] = from[i * stride + j + c];
        }
    }
}

}  // namespace espalier::cpu
