#include "kernels/statistics.hpp"

#include "kernels/cpu/statistics.hpp"
#include "kernels/cuda/statistics.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

void expect_samples(int64_t rows, int64_t samples) {
    if (samples > 0 ? rows == 0 || rows % samples != 0 : rows != 0)
        throw InternalError(fmt::format("moments: {} rows are not {} samples", rows, samples));
}

}  // namespace

void moments(Context& ctx, const Tensor& x, int64_t samples, Range columns, Tensor& moments) {
    const auto [rows, n] = x.dims<2>();
    expect_here(ctx, x, "x");
    expect_samples(rows, samples);
    if (columns.begin < 0 || columns.size() < 0 || columns.end > n) {
        throw InternalError(fmt::format("moments: columns {}..{} of {}", columns.begin, columns.end, n));
    }
    expect(ctx, moments, {samples, 3, columns.size()}, DType::f64, "moments");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::moments(ctx, x, samples, columns, moments);
    }
    cpu::moments(ctx, x, samples, columns, moments);
}

void activate_with_moments(Context& ctx, Activation activation, const Tensor& u, int64_t samples, Tensor& y,
                           Tensor& moments) {
    const auto [rows, n] = y.dims<2>();
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) {
            expect_activation(ctx, activation, u, y);
            expect_samples(rows, samples);
            expect(ctx, moments, {samples, 3, n}, DType::f64, "moments");
            return cuda::activate_with_moments(ctx, activation, u, samples, y, moments);
        }
    }
    activate(ctx, activation, u, y);
    espalier::moments(ctx, y, samples, {0, n}, moments);
}

void head_norms(Context& ctx, const Tensor& o, int64_t heads, Tensor& norms) {
    const auto [rows, width] = o.dims<2>();
    expect_here(ctx, o, "o");
    if (heads > 0 ? width % heads != 0 : width != 0) {
        throw InternalError(fmt::format("head_norms: rows of {} are not {} heads", width, heads));
    }
    expect(ctx, norms, {rows, heads}, DType::f32, "norms");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::head_norms(ctx, o, heads, norms);
    }
    cpu::head_norms(ctx, o, heads, norms);
}

void row_cosines(Context& ctx, const Tensor& a, const Tensor& b, Tensor& cosines) {
    const auto [rows, n] = a.dims<2>();
    expect_here(ctx, a, "a");
    expect(ctx, b, {rows, n}, a.dtype(), "b");
    expect(ctx, cosines, {rows}, DType::f64, "cosines");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::row_cosines(ctx, a, b, cosines);
    }
    cpu::row_cosines(ctx, a, b, cosines);
}

}  // namespace espalier
