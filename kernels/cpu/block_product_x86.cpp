#include "kernels/cpu/block_product_x86.hpp"

#ifdef __x86_64__

#include <immintrin.h>

#include <cstring>

// Functions for AVX-512 and its bf16 alike; the compiler itself uses none of the latter in f32.
#define ESPALIER_AVX512 [[gnu::target("avx512f,avx512bf16")]]
#define ESPALIER_AMX [[gnu::target("amx-tile,amx-bf16")]]

namespace espalier::cpu {
namespace {

constexpr int64_t lanes = 16;
/// With two vectors of columns, 16 sums at a time: enough to hide the latency of an addition.
constexpr int64_t register_rows = 8;
static_assert(block_unit % register_rows == 0 && block_unit == 2 * lanes && panel_columns == lanes);

ESPALIER_AVX512 inline __m512 add_product(__m512 sum, const float* a, const float* b) {
    return _mm512_fmadd_ps(_mm512_set1_ps(*a), _mm512_loadu_ps(b), sum);
}
ESPALIER_AVX512 inline __m512 add_product(__m512 sum, const bfloat16* a, const bfloat16* b) {
    int32_t pair;
    std::memcpy(&pair, a, sizeof pair);
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)),
                            reinterpret_cast<__m512bh>(_mm512_loadu_si512(b)));
}

/// c [register_rows, 2 * lanes] = or += a b.
template <class T>
ESPALIER_AVX512 inline void multiply_registers(Store store, int64_t depth, BlockRows<T> a, BlockPanels<T> b,
                                               float* c, int64_t c_stride) {
    const T* const left = b.data;
    const T* const right = b.from(0, lanes).data;
    __m512 sum[register_rows][2];
#pragma GCC unroll 8
    for (int64_t i = 0; i < register_rows; ++i) {
        for (int64_t half = 0; half < 2; ++half) {
            sum[i][half] = store == Store::accumulate ? _mm512_loadu_ps(c + i * c_stride + half * lanes)
                                                      : _mm512_setzero_ps();
        }
    }
    for (int64_t k = 0; k < depth; k += panel_depth<T>) {
#pragma GCC unroll 8
        for (int64_t i = 0; i < register_rows; ++i) {
            const T* const factor = a.data + i * a.stride + k;
            sum[i][0] = add_product(sum[i][0], factor, left + k * lanes);
            sum[i][1] = add_product(sum[i][1], factor, right + k * lanes);
        }
    }
#pragma GCC unroll 8
    for (int64_t i = 0; i < register_rows; ++i) {
        for (int64_t half = 0; half < 2; ++half) {
            _mm512_storeu_ps(c + i * c_stride + half * lanes, sum[i][half]);
        }
    }
}

template <class T>
ESPALIER_AVX512 void multiply_vectors(Store store, const BlockShape& shape, BlockRows<T> a, BlockPanels<T> b,
                                      float* c, int64_t c_stride) {
    for (int64_t j = 0; j < shape.columns; j += 2 * lanes) {
        for (int64_t i = 0; i < shape.rows; i += register_rows) {
            multiply_registers<T>(store, shape.depth, {a.data + i * a.stride, a.stride}, b.from(0, j),
                                  c + i * c_stride + j, c_stride);
        }
    }
}

/// What ldtilecfg reads: eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileShapes {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileShapes) == 64);

/// c [32, 32] = or += a b in tiles 0 to 3; 4 and 5 hold rows of a, 6 and 7 panels of b.
ESPALIER_AMX inline void multiply_tiles(Store store, int64_t depth, BlockRows<bfloat16> a,
                                        BlockPanels<bfloat16> b, float* c, int64_t c_stride) {
    constexpr int64_t side = 16, step = block_unit, panel_row = 64;
    const auto row_bytes = a.stride * int64_t{sizeof(bfloat16)}, c_bytes = c_stride * int64_t{sizeof(float)};
    float* const lower = c + side * c_stride;
    if (store == Store::accumulate) {
        _tile_loadd(0, c, c_bytes);
        _tile_loadd(1, c + side, c_bytes);
        _tile_loadd(2, lower, c_bytes);
        _tile_loadd(3, lower + side, c_bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < depth; k += step) {
        _tile_loadd(4, a.data + k, row_bytes);
        _tile_loadd(6, b.from(k, 0).data, panel_row);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b.from(k, side).data, panel_row);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a.data + side * a.stride + k, row_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, c_bytes);
    _tile_stored(1, c + side, c_bytes);
    _tile_stored(2, lower, c_bytes);
    _tile_stored(3, lower + side, c_bytes);
}

}  // namespace

void multiply_avx512(Store store, const BlockShape& shape, BlockRows<float> a, BlockPanels<float> b, float* c,
                     int64_t c_stride) {
    multiply_vectors(store, shape, a, b, c, c_stride);
}

void multiply_avx512_bf16(Store store, const BlockShape& shape, BlockRows<bfloat16> a,
                          BlockPanels<bfloat16> b, float* c, int64_t c_stride) {
    multiply_vectors(store, shape, a, b, c, c_stride);
}

ESPALIER_AMX void multiply_amx(Store store, const BlockShape& shape, BlockRows<bfloat16> a,
                               BlockPanels<bfloat16> b, float* c, int64_t c_stride) {
    for (int64_t j = 0; j < shape.columns; j += block_unit) {
        for (int64_t i = 0; i < shape.rows; i += block_unit) {
            multiply_tiles(store, shape.depth, {a.data + i * a.stride, a.stride}, b.from(0, j),
                           c + i * c_stride + j, c_stride);
        }
    }
}

ESPALIER_AMX void begin_amx() {
    // Not on the stack, where GCC 12 leaves out writes that it believes nobody reads.
    static constexpr TileShapes shapes;
    _tile_loadconfig(&shapes);
}

ESPALIER_AMX void end_amx() {
    _tile_release();
}

}  // namespace espalier::cpu

#endif
