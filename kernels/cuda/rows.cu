// Moving rows and columns: every element is read and written once, neighbouring threads have neighbouring
// elements.
#include "kernels/cuda/rows.hpp"

#include "kernels/cuda/element.cuh"

namespace espalier::cuda {
namespace {

constexpr int threads = 256;

/// Elements as they are, whatever they mean.
template <class F>
void visit_size(DType dtype, F&& f) {
    switch (size_of(dtype)) {
        case 1:
            return f(uint8_t{});
        case 2:
            return f(uint16_t{});
        case 4:
            return f(uint32_t{});
        default:
            return f(uint64_t{});
    }
}

template <class T>
__global__ void copy_band(int64_t count, int64_t columns, const T* from, int64_t from_width, T* to,
                          int64_t to_width) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count) return;
    const int64_t row = i / columns, column = i % columns;
    to[row * to_width + column] = from[row * from_width + column];
}

template <class T>
__global__ void take_rows(int64_t count, int64_t n, const T* x, const int32_t* index, T* out) {
    const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
    if (i >= count) return;
    out[i] = x[index[i / n] * n + i % n];
}

}  // namespace

void copy_columns(Context& ctx, const Tensor& from, int64_t from_column, Tensor& to, int64_t to_column,
                  int64_t columns) {
    const int64_t count = from.dim(0) * columns;
    visit_size(from.dtype(), [&]<class T>(T) {
        launch(copy_band<T>, blocks_for(count, threads), threads, 0, ctx.stream(), count, columns,
               data<T>(from) + from_column, from.dim(1), data<T>(to) + to_column, to.dim(1));
    });
}

void gather_rows(Context& ctx, const Tensor& x, const Tensor& index, Tensor& out) {
    const int64_t count = out.size();
    visit_size(x.dtype(), [&]<class T>(T) {
        launch(take_rows<T>, blocks_for(count, threads), threads, 0, ctx.stream(), count, x.dim(1),
               data<T>(x), data<int32_t>(index), data<T>(out));
    });
}

}  // namespace espalier::cuda
