// Factors of a product in the order in which AMX tiles take them.
#pragma once

#ifdef __x86_64__

#include <algorithm>

#include "kernels/cpu/amx_tiles.hpp"
#include "kernels/product.hpp"

namespace espalier::cpu {

/// A matrix of bf16 in memory: row i begins at data + i * stride.
struct StoredRows {
    const bfloat16* data;
    int64_t stride;
    StoredRows from(int64_t row, int64_t column) const { return {data + row * stride + column, stride}; }
};

/// Bits below `count` of 32.
inline uint32_t low_bits(int64_t count) {
    return count >= 32 ? ~uint32_t{0} : (uint32_t{1} << std::max<int64_t>(count, 0)) - 1;
}

/// Four pieces of 16 bytes of every fourth row.
ESPALIER_TILES_INLINE __m512i every_fourth(const bfloat16* data, int64_t stride) {
    const auto piece = [](const bfloat16* at) __attribute__((always_inline)) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    };
    __m512i rows = _mm512_castsi128_si512(piece(data));
    rows = _mm512_mask_broadcast_i32x4(rows, 0x00f0, piece(data + 4 * stride));
    rows = _mm512_mask_broadcast_i32x4(rows, 0x0f00, piece(data + 8 * stride));
    return _mm512_mask_broadcast_i32x4(rows, 0xf000, piece(data + 12 * stride));
}

/// out [16, 16] = the transpose of 16 rows of 16 pairs. Loads do half of the moves: the port that shuffles is
/// also the one that starts tile products.
ESPALIER_TILES_INLINE void transpose_pairs(StoredRows in, bfloat16* out) {
    for (int64_t four = 0; four < 4; ++four) {
        const bfloat16* const at = in.data + 8 * four;
        const __m512i a = every_fourth(at, in.stride), b = every_fourth(at + in.stride, in.stride),
                      c = every_fourth(at + 2 * in.stride, in.stride),
                      d = every_fourth(at + 3 * in.stride, in.stride);
        const __m512i ab_low = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b),
                      cd_low = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
        bfloat16* const to = out + 4 * four * tile_depth;
        _mm512_store_si512(to, _mm512_unpacklo_epi64(ab_low, cd_low));
        _mm512_store_si512(to + tile_depth, _mm512_unpackhi_epi64(ab_low, cd_low));
        _mm512_store_si512(to + 2 * tile_depth, _mm512_unpacklo_epi64(ab_high, cd_high));
        _mm512_store_si512(to + 3 * tile_depth, _mm512_unpackhi_epi64(ab_high, cd_high));
    }
}

/// out [16, 32] = rows x columns (at most 16 x 32) of `in`, and zeros.
ESPALIER_TILES_INLINE void copy_tile(StoredRows in, int64_t rows, int64_t columns, bfloat16* out) {
    const __mmask32 there = low_bits(columns);
    for (int64_t i = 0; i < tile_rows; ++i) {
        const __m512i row =
            i < rows ? _mm512_maskz_loadu_epi16(there, in.data + i * in.stride) : _mm512_setzero_si512();
        _mm512_store_si512(out + i * tile_depth, row);
    }
}

/// Of rows 2i and 2i + 1 of `in`: out [16 columns, 2], those that are not there 0.
ESPALIER_TILES_INLINE __m512i pair_rows(StoredRows in, int64_t rows, __mmask16 columns) {
    const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, in.data));
    if (rows < 2) return even;
    const __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, in.data + in.stride));
    return _mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
}

/// out [16 pairs of rows, 16 columns, 2] of `in` (at most 32 x 16), and zeros.
ESPALIER_TILES_INLINE void pair_tile(StoredRows in, int64_t rows, int64_t columns, bfloat16* out) {
    const auto there = static_cast<__mmask16>(low_bits(columns));
    for (int64_t i = 0; i < tile_rows; ++i) {
        const int64_t left = rows - 2 * i;
        const __m512i pairs =
            left > 0 && there != 0 ? pair_rows(in.from(2 * i, 0), left, there) : _mm512_setzero_si512();
        _mm512_store_si512(out + i * tile_depth, pairs);
    }
}

/// One tile of the left factor, [16 rows, 32 of depth], from at most as many rows of [rows, depth] or,
/// transposed, of [depth, rows]. `in` is not touched where rows <= 0.
ESPALIER_TILES_INLINE void pack_left(StoredRows in, detail::Order order, int64_t rows, int64_t depth,
                                     bfloat16* out) {
    if (order == detail::Order::as_stored) return copy_tile(in, rows, depth, out);
    alignas(64) bfloat16 pairs[tile_size];
    pair_tile(in, depth, rows, pairs);
    transpose_pairs({pairs, tile_depth}, out);
}

/// One tile of the right factor, [16 pairs of depth, 16 columns, 2], from at most as many columns of [depth,
/// columns] or, transposed, of [columns, depth]. `in` is not touched where columns <= 0.
ESPALIER_TILES_INLINE void pack_right(StoredRows in, detail::Order order, int64_t depth, int64_t columns,
                                      bfloat16* out) {
    if (order == detail::Order::as_stored) return pair_tile(in, depth, columns, out);
    if (depth >= tile_depth && columns >= tile_rows) return transpose_pairs(in, out);
    alignas(64) bfloat16 rows[tile_size];
    copy_tile(in, columns, depth, rows);
    transpose_pairs({rows, tile_depth}, out);
}

}  // namespace espalier::cpu

#endif
