#include "kernels/divergence.hpp"

#include <array>
#include <utility>

#include "kernels/cpu/divergence.hpp"
#include "kernels/cuda/divergence.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

constexpr std::array names{
    std::pair{Divergence::kl, std::string_view("kl")},
    std::pair{Divergence::reverse_kl, std::string_view("reverse-kl")},
    std::pair{Divergence::jsd, std::string_view("jsd")},
    std::pair{Divergence::mse, std::string_view("mse")},
    std::pair{Divergence::cosine, std::string_view("cosine")},
};

}  // namespace

std::string_view to_string(Divergence divergence) {
    for (const auto& [value, name] : names) {
        if (value == divergence) return name;
    }
    throw InternalError("unknown divergence");
}

std::optional<Divergence> divergence_from_string(std::string_view wanted) {
    for (const auto& [value, name] : names) {
        if (name == wanted) return value;
    }
    return std::nullopt;
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

void divergence_sums(Context& ctx, Divergence kind, const Tensor& teacher, const Tensor& student,
                     const Tensor& lse_t, const Tensor& lse_s, float tau, Tensor& sums) {
    const auto [rows, vocab] = student.dims<2>();
    expect(ctx, student, {rows, vocab}, DType::f32, "student");
    expect(ctx, teacher, {rows, vocab}, DType::f32, "teacher");
    expect(ctx, lse_t, {rows}, DType::f32, "lse_t");
    expect(ctx, lse_s, {rows}, DType::f32, "lse_s");
    expect(ctx, sums, {rows, divergence_sum_count}, DType::f32, "sums");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::divergence_sums(ctx, kind, teacher, student, lse_t, lse_s, tau, sums);
    }
    cpu::divergence_sums(ctx, kind, teacher, student, lse_t, lse_s, tau, sums);
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

void logit_gradient(Context& ctx, const LogitGradient& what, const Tensor& teacher, const Tensor& student,
                    const Tensor& lse_t, const Tensor& lse_s, const Tensor& sums, const Tensor& lse_1,
                    const Tensor& labels, const Tensor& row_weights, Tensor& d_logits) {
    const auto [rows, vocab] = student.dims<2>();
    expect(ctx, student, {rows, vocab}, DType::f32, "student");
    if (what.divergence) {
        expect(ctx, teacher, {rows, vocab}, DType::f32, "teacher");
        expect(ctx, lse_t, {rows}, DType::f32, "lse_t");
        expect(ctx, lse_s, {rows}, DType::f32, "lse_s");
        expect(ctx, sums, {rows, divergence_sum_count}, DType::f32, "sums");
    }
    if (what.label_weight != 0) {
        expect(ctx, lse_1, {rows}, DType::f32, "lse_1");
        expect(ctx, labels, {rows}, DType::i32, "labels");
    }
    expect(ctx, row_weights, {rows}, DType::f32, "row_weights");
    expect(ctx, d_logits, {rows, vocab}, "d_logits");
    if constexpr (has_cuda) {
        if (ctx.on_gpu())
            return cuda::logit_gradient(ctx, what, teacher, student, lse_t, lse_s, sums, lse_1, labels,
                                        row_weights, d_logits);
    }
    cpu::logit_gradient(ctx, what, teacher, student, lse_t, lse_s, sums, lse_1, labels, row_weights,
                        d_logits);
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
