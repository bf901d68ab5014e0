// The eight tiles of AMX as blocked kernels use them: four of sums, two of each factor. Only where
// has(Isa::amx_bf16) says so.
#pragma once

#include <cstdint>

#include "src/core/bfloat16.hpp"

namespace espalier::cpu {

/// While one exists this thread's tiles have their shapes. Nothing else that the thread does may use AMX
/// then: oneDNN does, and another TileState would end this one.
class TileState {
public:
    TileState();
    ~TileState();
    TileState(const TileState&) = delete;
    TileState& operator=(const TileState&) = delete;
};

}  // namespace espalier::cpu

#ifdef __x86_64__

#include <immintrin.h>

/// For functions with instructions of AMX, and with the vectors that every processor with AMX has.
#define ESPALIER_TILES [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")]]
#define ESPALIER_TILES_INLINE ESPALIER_TILES [[gnu::always_inline]] inline

namespace espalier::cpu {

/// A tile has 16 rows of 64 bytes: f32 sums, or pairs of bf16, 32 deep.
constexpr int64_t tile_rows = 16;
constexpr int64_t tile_depth = 32;
constexpr int64_t tile_size = tile_rows * tile_depth;

/// Sums [32, 32], rows `stride` apart: tiles 0 to 3.
ESPALIER_TILES_INLINE void zero_sums() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}
ESPALIER_TILES_INLINE void take_sums(const float* sums, int64_t stride) {
    const float* const lower = sums + tile_rows * stride;
    _tile_loadd(0, sums, stride * 4);
    _tile_loadd(1, sums + tile_rows, stride * 4);
    _tile_loadd(2, lower, stride * 4);
    _tile_loadd(3, lower + tile_rows, stride * 4);
}
ESPALIER_TILES_INLINE void put_sums(float* sums, int64_t stride) {
    float* const lower = sums + tile_rows * stride;
    _tile_stored(0, sums, stride * 4);
    _tile_stored(1, sums + tile_rows, stride * 4);
    _tile_stored(2, lower, stride * 4);
    _tile_stored(3, lower + tile_rows, stride * 4);
}

/// sums += a b, 32 deep: a as 16 rows of `upper` and of `lower`, row_bytes apart; b as two tiles of 16
/// columns, [16 pairs, 16 columns, 2] each.
ESPALIER_TILES_INLINE void add_tile_products(const bfloat16* upper, const bfloat16* lower, int64_t row_bytes,
                                             const bfloat16* left, const bfloat16* right) {
    constexpr int64_t panel_row = 64;
    _tile_loadd(4, upper, row_bytes);
    _tile_loadd(6, left, panel_row);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right, panel_row);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, lower, row_bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
}

}  // namespace espalier::cpu

#endif
