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
    const auto [rows, vocab] = in.sides.student.dims<2>();
    const int64_t k = ids.dim(1);
    expect(ctx, in.sides.student, {rows, vocab}, DType::f32, "student");
    expect(ctx, in.sides.lse_s, {rows}, DType::f32, "lse_s");
    expect(ctx, ids, {rows, k}, DType::i32, "ids");
    expect(ctx, slopes, {rows, k + 1}, DType::f32, "slopes");
    if (weights.label_weight != 0) {
        expect(ctx, in.lse_1, {rows}, DType::f32, "lse_1");
        expect(ctx, in.labels, {rows}, DType::i32, "labels");
    }
    expect(ctx, in.row_weights, {rows}, DType::f32, "row_weights");
    expect(ctx, d_logits, {rows, vocab}, "d_logits");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::bucket_logit_gradient(ctx, weights, in, ids, slopes, d_logits);
    }
    cpu::bucket_logit_gradient(ctx, weights, in, ids, slopes, d_logits);
}

}  // namespace espalier
