#include "kernels/rows.hpp"

#include "kernels/cpu/rows.hpp"
#include "kernels/cuda/rows.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void copy_columns(Context& ctx, const Tensor& from, int64_t from_column, Tensor& to, int64_t to_column,
                  int64_t count) {
    const auto [rows, n] = from.dims<2>();
    const auto [to_rows, m] = to.dims<2>();
    expect_here(ctx, from, "from");
    expect(ctx, to, {to_rows, m}, from.dtype(), "to");
    if (rows != to_rows || from_column < 0 || to_column < 0 || from_column + count > n ||
        to_column + count > m) {
        throw InternalError(fmt::format("copy_columns: {} columns from {} of {} to {} of {}", count,
                                        from_column, to_string(from.shape()), to_column,
                                        to_string(to.shape())));
    }
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::copy_columns(ctx, from, from_column, to, to_column, count);
    }
    cpu::copy_columns(ctx, from, from_column, to, to_column, count);
}

void gather_rows(Context& ctx, const Tensor& x, const Tensor& index, Tensor& out) {
    const auto [rows, n] = x.dims<2>();
    expect_here(ctx, x, "x");
    expect(ctx, index, {index.size()}, DType::i32, "index");
    expect(ctx, out, {index.size(), n}, x.dtype(), "out");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::gather_rows(ctx, x, index, out);
    }
    cpu::gather_rows(ctx, x, index, out);
}

}  // namespace espalier
