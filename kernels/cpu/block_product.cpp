#include "kernels/cpu/block_product.hpp"

#include <cstring>
#include <type_traits>

#include "kernels/cpu/block_product_x86.hpp"
#include "kernels/cpu/isa.hpp"

namespace espalier::cpu {
namespace {

constexpr int64_t lanes = 8;
template <class Element>
using VectorOf [[gnu::vector_size(lanes * 4), gnu::may_alias]] = Element;
using Floats = VectorOf<float>;
using Words = VectorOf<uint32_t>;

/// One step of depth of 8 columns of a panel, as f32: of bf16 the first and the second of each pair.
template <class T>
struct PanelStep;

template <>
struct PanelStep<float> {
    Floats first;
    explicit PanelStep(const float* b) { std::memcpy(&first, b, sizeof first); }
    Floats add_product(Floats sum, const float* a) const { return sum + *a * first; }
};

template <>
struct PanelStep<bfloat16> {
    Floats first, second;
    explicit PanelStep(const bfloat16* b) {
        Words pairs;
        std::memcpy(&pairs, b, sizeof pairs);
        first = reinterpret_cast<Floats>(pairs << 16);
        second = reinterpret_cast<Floats>(pairs & 0xffff0000U);
    }
    Floats add_product(Floats sum, const bfloat16* a) const {
        uint32_t pair;
        std::memcpy(&pair, a, sizeof pair);
        const Words pairs = Words{} + pair;
        return sum + reinterpret_cast<Floats>(pairs << 16) * first +
               reinterpret_cast<Floats>(pairs & 0xffff0000U) * second;
    }
};

/// c [rows, panel_columns] = or += a b, sums in registers.
template <int rows, class T>
void multiply_registers(Store store, int64_t depth, BlockRows<T> a, BlockPanels<T> b, float* c,
                        int64_t c_stride) {
    Floats left[rows] = {}, right[rows] = {};
    for (int64_t k = 0; k < depth; k += panel_depth<T>) {
        const T* const step = b.data + k * panel_columns;
        const PanelStep<T> b_left(step), b_right(step + lanes * panel_depth<T>);
#pragma GCC unroll 6
        for (int i = 0; i < rows; ++i) {
            const T* const factor = a.data + i * a.stride + k;
            left[i] = b_left.add_product(left[i], factor);
            right[i] = b_right.add_product(right[i], factor);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; ++i) {
        float* const out = c + i * c_stride;
        if (store == Store::accumulate) {
            Floats old[2];
            std::memcpy(old, out, sizeof old);
            left[i] += old[0];
            right[i] += old[1];
        }
        std::memcpy(out, &left[i], sizeof left[i]);
        std::memcpy(out + lanes, &right[i], sizeof right[i]);
    }
}

/// In what every processor has that the program is compiled for. With AVX2 6 x 16 sums are 12 registers of
/// 16; pairs need more of them for factors.
template <class T>
void multiply_portable(Store store, const BlockShape& shape, BlockRows<T> a, BlockPanels<T> b, float* c,
                       int64_t c_stride) {
    constexpr bool pairs = panel_depth<T> == 2;
    constexpr int more = pairs ? 4 : 6, less = pairs ? 4 : 5;
    constexpr int64_t by_more = 2 * more;  // rows of a unit
    static_assert((block_unit - by_more) % less == 0);
    for (int64_t j = 0; j < shape.columns; j += panel_columns) {
        const auto panel = b.from(0, j);
        const auto multiply = [&]<int rows>(std::integral_constant<int, rows>, int64_t i) {
            multiply_registers<rows, T>(store, shape.depth, {a.data + i * a.stride, a.stride}, panel,
                                        c + i * c_stride + j, c_stride);
        };
        for (int64_t unit = 0; unit < shape.rows; unit += block_unit) {
            int64_t i = 0;
            for (; i < by_more; i += more) multiply(std::integral_constant<int, more>{}, unit + i);
            for (; i < block_unit; i += less) multiply(std::integral_constant<int, less>{}, unit + i);
        }
    }
}

template <class T>
typename BlockProduct<T>::Multiply choose() {
#ifdef __x86_64__
    if constexpr (std::is_same_v<T, bfloat16>) {
        if (has(Isa::amx_bf16)) return multiply_amx;
        if (has(Isa::avx512_bf16)) return multiply_avx512_bf16;
    } else if (has(Isa::avx512)) {
        return multiply_avx512;
    }
#endif
    return multiply_portable<T>;
}

}  // namespace

template <class T>
BlockProduct<T>::BlockProduct() : multiply_(choose<T>()) {
    if (std::is_same_v<T, bfloat16> && has(Isa::amx_bf16)) tiles_.emplace();
}

template class BlockProduct<float>;
template class BlockProduct<bfloat16>;

}  // namespace espalier::cpu
