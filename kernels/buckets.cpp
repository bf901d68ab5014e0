#include "kernels/buckets.hpp"

#include "kernels/cpu/buckets.hpp"
#include "kernels/cuda/buckets.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void bucket_divergence(Context& ctx, Divergence kind, const Tensor& teacher, const Tensor& student,
                       const Tensor& lse_t, const Tensor& lse_s, float tau, Tensor& loss, Tensor& slopes) {
    const auto [rows, k] = teacher.dims<2>();
    expect(ctx, teacher, {rows, k}, DType::f32, "teacher");
    expect(ctx, student, {rows, k}, DType::f32, "student");
    expect(ctx, lse_t, {rows}, DType::f32, "lse_t");
    expect(ctx, lse_s, {rows}, DType::f32, "lse_s");
    expect(ctx, loss, {rows}, DType::f32, "loss");
    expect(ctx, slopes, {rows, k + 1}, DType::f32, "slopes");
    if constexpr (has_cuda) {
        if (ctx.on_gpu())
            return cuda::bucket_divergence(ctx, kind, teacher, student, lse_t, lse_s, tau, loss, slopes);
    }
    cpu::bucket_divergence(ctx, kind, teacher, student, lse_t, lse_s, tau, loss, slopes);
}

void bucket_logit_gradient(Context& ctx, const LogitGradient& what, const Tensor& student,
                           const Tensor& lse_s, const Tensor& ids, const Tensor& slopes, const Tensor& lse_1,
                           const Tensor& labels, const Tensor& row_weights, Tensor& d_logits) {
    const auto [rows, vocab] = student.dims<2>();
    const int64_t k = ids.dim(1);
    expect(ctx, student, {rows, vocab}, DType::f32, "student");
    expect(ctx, lse_s, {rows}, DType::f32, "lse_s");
    expect(ctx, ids, {rows, k}, DType::i32, "ids");
    expect(ctx, slopes, {rows, k + 1}, DType::f32, "slopes");
    if (what.label_weight != 0) {
        expect(ctx, lse_1, {rows}, DType::f32, "lse_1");
        expect(ctx, labels, {rows}, DType::i32, "labels");
    }
    expect(ctx, row_weights, {rows}, DType::f32, "row_weights");
    expect(ctx, d_logits, {rows, vocab}, "d_logits");
    if constexpr (has_cuda) {
        if (ctx.on_gpu())
            return cuda::bucket_logit_gradient(ctx, what, student, lse_s, ids, slopes, lse_1, labels,
                                               row_weights, d_logits);
    }
    cpu::bucket_logit_gradient(ctx, what, student, lse_s, ids, slopes, lse_1, labels, row_weights, d_logits);
}

}  // namespace espalier
