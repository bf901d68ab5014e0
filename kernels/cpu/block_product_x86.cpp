#include "kernels/cpu/block_product_x86.hpp"

#ifdef __x86_64__

#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/amx_tiles.hpp"

// Functions for AVX-512 and its bf16 alike; the compiler itself uses none of the latter in f32.
#define ESPALIER_AVX512 [[gnu::target("avx512f,avx512bf16")]]

namespace espalier::cpu {
namespace {

constexpr int64_t lanes = 16;
/// With two vectors of columns, 16 sums at a time: enough to hide the latency of an addition.
constexpr int64_t register_rows = 8;
static_assert(block_unit % register_rows == 0 && block_unit == 2 * lanes && panel_columns == lanes);
static_assert(block_unit == tile_depth && block_unit == 2 * tile_rows && panel_columns == tile_rows);

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

/// c [32, 32] = or += a b.
ESPALIER_TILES_INLINE void multiply_tiles(Store store, int64_t depth, BlockRows<bfloat16> a,
                                          BlockPanels<bfloat16> b, float* c, int64_t c_stride) {
    store == Store::accumulate ? take_sums(c, c_stride) : zero_sums();
    const bfloat16* const lower = a.data + tile_rows * a.stride;
    const auto row_bytes = a.stride * int64_t{sizeof(bfloat16)};
    for (int64_t k = 0; k < depth; k += tile_depth)
        add_tile_products(a.data + k, lower + k, row_bytes, b.from(k, 0).data, b.from(k, panel_columns).data);
    put_sums(c, c_stride);
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

ESPALIER_TILES void multiply_amx(Store store, const BlockShape& shape, BlockRows<bfloat16> a,
                                 BlockPanels<bfloat16> b, float* c, int64_t c_stride) {
    for (int64_t j = 0; j < shape.columns; j += block_unit) {
        for (int64_t i = 0; i < shape.rows; i += block_unit) {
            multiply_tiles(store, shape.depth, {a.data + i * a.stride, a.stride}, b.from(0, j),
                           c + i * c_stride + j, c_stride);
        }
    }
}

}  // namespace espalier::cpu

#endif
