// Moving rows and columns: every byte is read and written once, neighbouring threads have neighbouring ones,
// up to 16 bytes each where rows and their places are multiples of that.
#include "kernels/cuda/rows.hpp"

#include <algorithm>

#include "kernels/cuda/element.cuh"

namespace espalier::cuda {
namespace {

constexpr int threads = 128;

/// Row i of `to` = row index[i] of `from`, or row i without an index: `columns` of rows that stand
/// `from_width` and `to_width` apart, all in bytes, whatever they mean.
struct Copy {
    const std::byte* from;
    int64_t from_width;
    const int32_t* index;
    std::byte* to;
    int64_t to_width, columns;
};

/// A block has a part of a row; widths and columns are in units.
template <class Unit>
__global__ void copy_rows(const Unit* from, int64_t from_width, const int32_t* index, Unit* to,
                          int64_t to_width, int columns) {
    const int64_t row = blockIdx.x, source = index ? index[row] : row;
    const int first = static_cast<int>(blockIdx.y * threads + threadIdx.x);
    for (int j = first; j < columns; j += static_cast<int>(gridDim.y) * threads)
        to[row * to_width + j] = from[source * from_width + j];
}

/// Calls f with the widest unit in which the copy can be counted.
template <class F>
void visit_unit(const Copy& c, F&& f) {
    const auto bits = reinterpret_cast<uintptr_t>(c.from) | reinterpret_cast<uintptr_t>(c.to) |
                      static_cast<uintptr_t>(c.from_width | c.to_width | c.columns);
    if (bits % 16 == 0) return f(uint4{});
    if (bits % 8 == 0) return f(uint64_t{});
    if (bits % 4 == 0) return f(uint32_t{});
    if (bits % 2 == 0) return f(uint16_t{});
    return f(uint8_t{});
}

void run(Context& ctx, int64_t rows, const Copy& c) {
    visit_unit(c, [&]<class Unit>(Unit) {
        constexpr int64_t size = sizeof(Unit);
        const auto parts =
            static_cast<unsigned>(std::min(div_ceil<int64_t>(c.columns / size, threads), most_grid_rows));
        launch(copy_rows<Unit>, {narrow<unsigned>(rows), parts}, threads, 0, ctx.stream(),
               reinterpret_cast<const Unit*>(c.from), c.from_width / size, c.index,
               reinterpret_cast<Unit*>(c.to), c.to_width / size, narrow<int>(c.columns / size));
    });
}

}  // namespace

void copy_columns(Context& ctx, const Tensor& from, int64_t from_column, Tensor& to, int64_t to_column,
                  int64_t columns) {
    const auto size = static_cast<int64_t>(size_of(from.dtype()));
    run(ctx, from.dim(0),
        {from.raw() + from_column * size, from.dim(1) * size, nullptr, to.raw() + to_column * size,
         to.dim(1) * size, columns * size});
}

void gather_rows(Context& ctx, const Tensor& x, const Tensor& index, Tensor& out) {
    const int64_t width = x.dim(1) * static_cast<int64_t>(size_of(x.dtype()));
    run(ctx, index.size(), {x.raw(), width, data<int32_t>(index), out.raw(), width, width});
}

}  // namespace espalier::cuda
