// The inner product of blocked kernels: c = or += a b of blocks that lie packed in a cache. Factors are f32
// or bf16, sums f32, in whatever the processor multiplies with: AVX2, AVX-512, its bf16 pairs, AMX tiles.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cpu/amx_tiles.hpp"
#include "kernels/matmul.hpp"

namespace espalier::cpu {

/// Rows, columns and depth of a block are multiples of this: two AMX tiles of 16 x 16 sums, 32 bf16 deep.
constexpr int64_t block_unit = 32;
/// Columns of one panel.
constexpr int64_t panel_columns = 16;
/// Factors that lie side by side in a panel because one instruction multiplies them: pairs of bf16.
template <class T>
constexpr int64_t panel_depth = 4 / sizeof(T);

/// a [rows, depth]: row i begins at data + i * stride.
template <class T>
struct BlockRows {
    const T* data;
    int64_t stride;
};

/// b [depth, columns], stored as [columns / panel_columns, stride / panel_depth, panel_columns, panel_depth]:
/// (k, j) is in panel j / panel_columns. One step of panel_depth takes 64 bytes.
template <class T>
struct BlockPanels {
    const T* data;
    int64_t stride;  ///< depth of what is stored; at least that of the product

    /// From (k, j) on; multiples of panel_depth and panel_columns.
    BlockPanels from(int64_t k, int64_t j) const { return {data + j * stride + k * panel_columns, stride}; }
};

struct BlockShape {
    int64_t rows, columns, depth;
};

/// One thread's multiplier. T: float or bfloat16, of which subnormals may count as 0. While it exists the
/// thread must not multiply matrices otherwise (TileState).
template <class T>
class BlockProduct {
public:
    BlockProduct();

    /// c [rows, columns] = or += a b; rows of c are c_stride apart.
    void operator()(Store store, const BlockShape& shape, BlockRows<T> a, BlockPanels<T> b, float* c,
                    int64_t c_stride) const {
        multiply_(store, shape, a, b, c, c_stride);
    }

    using Multiply = void (*)(Store, const BlockShape&, BlockRows<T>, BlockPanels<T>, float*, int64_t);

private:
    Multiply multiply_;
    std::optional<TileState> tiles_;  // where it multiplies in them
};

}  // namespace espalier::cpu
