#include "kernels/cuda/matmul.hpp"

#include "kernels/cuda/cublaslt.hpp"
#include "kernels/cuda/elementwise.hpp"

namespace espalier::cuda {
namespace {

/// The bias in the result's dtype and at a multiple of 16 bytes, as the epilogue reads it.
Tensor bias_for(Context& ctx, const Tensor& bias, const Tensor& y) {
    const auto stands_well = [&] { return reinterpret_cast<uintptr_t>(bias.raw()) % 16 == 0; };
    if (!bias || (bias.dtype() == y.dtype() && stands_well())) return bias;
    Tensor out = ctx.empty(bias.shape(), y.dtype());
    cuda::convert(ctx, bias, out);
    return out;
}

}  // namespace

void matmul(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y, Store store) {
    const auto [m, k] = x.dims<2>();
    const int64_t n = w.dim(0);
    if (m == 0 || n == 0) return;
    if (k == 0) {  // a product without terms is one of a zero
        return cuda::matmul(ctx, ctx.zeros({m, 1}, x.dtype()), ctx.zeros({n, 1}, x.dtype()), bias, y, store);
    }
    ctx.resource<CublasLt>().run({m, n, k, Order::as_stored, Order::transposed, store}, x, w,
                                 bias_for(ctx, bias, y), y);
}

void matmul_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, Tensor& dx, Store store) {
    const auto [m, n] = dy.dims<2>();
    const int64_t k = w.dim(1);
    if (m == 0 || k == 0) return;
    if (n == 0) {
        return cuda::matmul_backward_input(ctx, ctx.zeros({m, 1}, dy.dtype()), ctx.zeros({1, k}, dy.dtype()),
                                           dx, store);
    }
    ctx.resource<CublasLt>().run({m, k, n, Order::as_stored, Order::as_stored, store}, dy, w, {}, dx);
}

void matmul_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, Tensor& dw) {
    const auto [m, n] = dy.dims<2>();
    const int64_t k = x.dim(1);
    if (m == 0 || n == 0 || k == 0) return;
    ctx.resource<CublasLt>().run({n, k, m, Order::transposed, Order::as_stored, Store::accumulate}, dy, x, {},
                                 dw);
}

}  // namespace espalier::cuda
