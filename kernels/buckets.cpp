#include "kernels/buckets.hpp"

#include "kernels/cpu/buckets.hpp"
#include "kernels/cuda/buckets.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void bucket_divergence(Context& ctx, Divergence kind, const Sides& sides, float tau, Tensor& loss,
                       Tensor& slopes) {
    const auto [rows, k] = sides.student.dims<2>();
    expect_sides(ctx, sides);
    expect(ctx, loss, {rows}, DType::f32, "loss");
    expect(ctx, slopes, {rows, k + 1}, DType::f32, "slopes");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::bucket_divergence(ctx, kind, sides, tau, loss, slopes);
    }
    cpu::bucket_divergence(ctx, kind, sides, tau, loss, slopes);
}

void bucket_logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, const Tensor& ids,
                           const Tensor& slopes, Tensor& d_logits) {
    const int64_t rows = in.sides.student.dim(0), k = ids.dim(1);
    expect_gradient(ctx, weights, in, d_logits);
    expect(ctx, in.sides.lse_s, {rows}, DType::f32, "lse_s");
    expect(ctx, ids, {rows, k}, DType::i32, "ids");
    expect(ctx, slopes, {rows, k + 1}, DType::f32, "slopes");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::bucket_logit_gradient(ctx, weights, in, ids, slopes, d_logits);
    }
    cpu::bucket_logit_gradient(ctx, weights, in, ids, slopes, d_logits);
}

}  // namespace espalier
