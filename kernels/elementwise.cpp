#include "kernels/elementwise.hpp"

#include "kernels/cpu/elementwise.hpp"
#include "kernels/cuda/elementwise.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void add(Context& ctx, const Tensor& a, const Tensor& b, Tensor& out) {
    expect_here(ctx, a, "a");
    expect(ctx, b, a.shape(), a.dtype(), "b");
    expect(ctx, out, a.shape(), a.dtype(), "out");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::add(ctx, a, b, out);
    }
    cpu::add(ctx, a, b, out);
}

void accumulate(Context& ctx, const Tensor& part, Tensor& sum) {
    expect_here(ctx, part, "part");
    expect(ctx, sum, part.shape(), DType::f32, "sum");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::accumulate(ctx, part, sum);
    }
    cpu::accumulate(ctx, part, sum);
}

void scale(Context& ctx, float factor, Tensor& x) {
    expect_here(ctx, x, "x");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::scale(ctx, factor, x);
    }
    cpu::scale(ctx, factor, x);
}

void copy(Context& ctx, const Tensor& x, Tensor& out) {
    expect_dtype(out, x.dtype(), "out");
    convert(ctx, x, out);
}

void convert(Context& ctx, const Tensor& x, Tensor& out) {
    expect_here(ctx, x, "x");
    expect(ctx, out, x.shape(), "out");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::convert(ctx, x, out);
    }
    cpu::convert(ctx, x, out);
}

void fill(Context& ctx, float value, Tensor& x) {
    expect_here(ctx, x, "x");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::fill(ctx, value, x);
    }
    cpu::fill(ctx, value, x);
}

void clear_unscored(Context& ctx, const Tensor& labels, Tensor& x) {
    expect_here(ctx, x, "x");
    expect(ctx, labels, {x.dim(0)}, DType::i32, "labels");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::clear_unscored(ctx, labels, x);
    }
    cpu::clear_unscored(ctx, labels, x);
}

double square_sum(Context& ctx, const Tensor& x, const FlatRuns& runs) {
    expect_flat(ctx, x, runs, "x");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::square_sum(ctx, x, runs);
    }
    return cpu::square_sum(ctx, x, runs);
}

}  // namespace espalier
