#include "kernels/divergence.hpp"

#include "kernels/cpu/divergence.hpp"
#include "kernels/cuda/divergence.hpp"
#include "src/core/has_cuda.hpp"
#include "src/core/names.hpp"

namespace espalier {
namespace {

constexpr std::array names{
    Named{Divergence::kl, "kl"},   Named{Divergence::reverse_kl, "reverse-kl"},
    Named{Divergence::jsd, "jsd"}, Named{Divergence::tvd, "tvd"},
    Named{Divergence::mse, "mse"}, Named{Divergence::cosine, "cosine"},
};

}  // namespace

std::string_view to_string(Divergence divergence) {
    return name_of(names, divergence);
}

std::optional<Divergence> divergence_from_string(std::string_view name) {
    return value_of(names, name);
}

void softmax_statistics(Context& ctx, const Tensor& logits, float tau, Tensor& stats) {
    const auto [rows, vocab] = logits.dims<2>();
    expect(ctx, logits, {rows, vocab}, DType::f32, "logits");
    expect(ctx, stats, {rows, 2}, DType::f32, "stats");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::softmax_statistics(ctx, logits, tau, stats);
    }
    cpu::softmax_statistics(ctx, logits, tau, stats);
}

void tail_statistics(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, float tau,
                     Tensor& stats) {
    const auto [rows, vocab] = logits.dims<2>();
    expect(ctx, logits, {rows, vocab}, DType::f32, "logits");
    expect(ctx, ids, {rows, ids.dim(1)}, DType::i32, "ids");
    expect(ctx, stats, {rows, 2}, DType::f32, "stats");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::tail_statistics(ctx, logits, ids, first_id, tau, stats);
    }
    cpu::tail_statistics(ctx, logits, ids, first_id, tau, stats);
}

void softmax_combine(Context& ctx, const Tensor& all, Tensor& lse) {
    const auto [parts, rows, two] = all.dims<3>();
    expect(ctx, all, {parts, rows, 2}, DType::f32, "all");
    expect(ctx, lse, {rows}, DType::f32, "lse");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::softmax_combine(ctx, all, lse);
    }
    cpu::softmax_combine(ctx, all, lse);
}

void label_logits(Context& ctx, const Tensor& logits, const Tensor& labels, int64_t first_id,
                  Tensor& labelled) {
    const auto [rows, vocab] = logits.dims<2>();
    expect(ctx, logits, {rows, vocab}, DType::f32, "logits");
    expect(ctx, labels, {rows}, DType::i32, "labels");
    expect(ctx, labelled, {rows}, DType::f32, "labelled");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::label_logits(ctx, logits, labels, first_id, labelled);
    }
    cpu::label_logits(ctx, logits, labels, first_id, labelled);
}

void expect_sides(const Context& ctx, const Sides& sides) {
    const auto [rows, vocab] = sides.student.dims<2>();
    expect(ctx, sides.student, {rows, vocab}, DType::f32, "student");
    expect(ctx, sides.teacher, {rows, vocab}, DType::f32, "teacher");
    expect(ctx, sides.lse_t, {rows}, DType::f32, "lse_t");
    expect(ctx, sides.lse_s, {rows}, DType::f32, "lse_s");
}

void divergence_sums(Context& ctx, Divergence kind, const Sides& sides, float tau, Tensor& sums) {
    expect_sides(ctx, sides);
    expect(ctx, sums, {sides.student.dim(0), divergence_sum_count}, DType::f32, "sums");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::divergence_sums(ctx, kind, sides, tau, sums);
    }
    cpu::divergence_sums(ctx, kind, sides, tau, sums);
}

void divergence_loss(Context& ctx, Divergence kind, const Tensor& sums, Tensor& loss) {
    const auto [rows] = loss.dims<1>();
    expect(ctx, sums, {rows, divergence_sum_count}, DType::f32, "sums");
    expect(ctx, loss, {rows}, DType::f32, "loss");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::divergence_loss(ctx, kind, sums, loss);
    }
    cpu::divergence_loss(ctx, kind, sums, loss);
}

void expect_gradient(const Context& ctx, const LossWeights& weights, const LossInputs& in,
                     const Tensor& d_logits) {
    const auto [rows, vocab] = in.sides.student.dims<2>();
    expect(ctx, in.sides.student, {rows, vocab}, DType::f32, "student");
    if (weights.label_weight != 0) {
        expect(ctx, in.lse_1, {rows}, DType::f32, "lse_1");
        expect(ctx, in.labels, {rows}, DType::i32, "labels");
    }
    expect(ctx, in.row_weights, {rows}, DType::f32, "row_weights");
    expect(ctx, d_logits, {rows, vocab}, "d_logits");
}

void logit_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits) {
    expect_gradient(ctx, weights, in, d_logits);
    if (weights.divergence) {
        expect_sides(ctx, in.sides);
        expect(ctx, in.sums, {in.sides.student.dim(0), divergence_sum_count}, DType::f32, "sums");
    }
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::logit_gradient(ctx, weights, in, d_logits);
    }
    cpu::logit_gradient(ctx, weights, in, d_logits);
}

void kl_gradient(Context& ctx, const LossWeights& weights, const LossInputs& in, Tensor& d_logits,
                 Tensor& sums) {
    ESPALIER_ASSERT(weights.divergence == Divergence::kl);
    expect_gradient(ctx, weights, in, d_logits);
    expect_sides(ctx, in.sides);
    expect(ctx, sums, {in.sides.student.dim(0), divergence_sum_count}, DType::f32, "sums");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::kl_gradient(ctx, weights, in, d_logits, sums);
    }
    cpu::kl_gradient(ctx, weights, in, d_logits, sums);
}

void row_argmax(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& best) {
    const auto [rows, vocab] = logits.dims<2>();
    expect(ctx, logits, {rows, vocab}, DType::f32, "logits");
    expect(ctx, best, {rows, 2}, DType::f32, "best");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::row_argmax(ctx, logits, first_id, best);
    }
    cpu::row_argmax(ctx, logits, first_id, best);
}

}  // namespace espalier
