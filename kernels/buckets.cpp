#include "kernels/buckets.hpp"

#include "kernels/cpu/buckets.hpp"
#include "kernels/cuda/buckets.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void bucket_divergence(Context& ctx, Divergence kind, const Buckets& buckets, float tau, Tensor& loss,
                       Tensor& slopes) {
    const auto [rows, k] = buckets.student.dims<2>();
    expect(ctx, buckets.student, {rows, k}, DType::f32, "student");
    expect(ctx, buckets.teacher, {rows, k}, DType::f32, "teacher");
    expect(ctx, buckets.tail_t, {rows}, DType::f32, "tail_t");
    expect(ctx, buckets.tail_s, {rows}, DType::f32, "tail_s");
    expect(ctx, loss, {rows}, DType::f32, "loss");
    expect(ctx, slopes, {rows, k + 1}, DType::f32, "slopes");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::bucket_divergence(ctx, kind, buckets, tau, loss, slopes);
    }
    cpu::bucket_divergence(ctx, kind, buckets, tau, loss, slopes);
}

void bucket_logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in,
                           const Buckets& buckets, const Tensor& slopes, Tensor& d_logits) {
    const int64_t rows = in.sides.student.dim(0), k = buckets.ids.dim(1);
    expect_gradient(ctx, weights, in, d_logits);
    expect(ctx, buckets.ids, {rows, k}, DType::i32, "ids");
    expect(ctx, buckets.tail_s, {rows}, DType::f32, "tail_s");
    expect(ctx, slopes, {rows, k + 1}, DType::f32, "slopes");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::bucket_logit_gradient(ctx, weights, in, buckets, slopes, d_logits);
    }
    cpu::bucket_logit_gradient(ctx, weights, in, buckets, slopes, d_logits);
}

}  // namespace espalier
