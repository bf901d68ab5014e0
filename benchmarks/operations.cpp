#include "benchmarks/operations.hpp"

#include "benchmarks/yardstick.hpp"
#include "kernels/adamw.hpp"
#include "kernels/cuda/attention.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"
#include "kernels/matmul.hpp"
#include "kernels/norm.hpp"
#include "kernels/qk_norm.hpp"
#include "kernels/rotary.hpp"
#include "kernels/statistics.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::benchmarks {

using namespace espalier::test;

namespace {

double total_bytes(std::initializer_list<Tensor> tensors) {
    double sum = 0;
    for (const Tensor& t : tensors) sum += static_cast<double>(t.bytes());
    return sum;
}

/// [count] i32 = f(i), on the context's device.
template <class F>
Tensor indices(Context& ctx, int64_t count, F f) {
    const Tensor host = ctx.empty_on_host({count}, DType::i32);
    for (int64_t i = 0; i < count; ++i) host.data<int32_t>()[i] = narrow<int32_t>(f(i));
    return ctx.to_device(host);
}

}  // namespace

Operation norm(Context& ctx, Pass pass, RowCase c, DType dtype) {
    const Shape shape{c.rows, c.n};
    const Tensor x = numbers(ctx, shape, dtype), w = numbers(ctx, {c.n}, dtype);
    if (pass == Pass::forward) {
        Tensor y = ctx.empty(shape, dtype), stats = ctx.empty({c.rows, 2}, DType::f32);
        return {[=, &ctx]() mutable { espalier::norm(ctx, x, w, {}, {}, y, stats); }, total_bytes({x, y})};
    }
    const Tensor dy = numbers(ctx, shape, dtype), stats = numbers(ctx, {c.rows, 2}, DType::f32);
    Tensor dx = ctx.zeros(shape, dtype), dw = ctx.zeros({c.n}, DType::f32), none;
    return {[=, &ctx]() mutable { norm_backward(ctx, dy, x, w, stats, {}, dx, dw, none); },
            total_bytes({x, dy, dx, dx})};
}

Operation activation(Context& ctx, Pass pass, Activation kind, RowCase c, DType dtype) {
    const Shape shape{c.rows, c.n}, in{c.rows, is_gated(kind) ? 2 * c.n : c.n};
    const Tensor u = numbers(ctx, in, dtype);
    if (pass == Pass::forward) {
        Tensor y = ctx.empty(shape, dtype);
        return {[=, &ctx]() mutable { activate(ctx, kind, u, y); }, total_bytes({u, y})};
    }
    const Tensor dy = numbers(ctx, shape, dtype);
    Tensor du = ctx.empty(in, dtype);
    return {[=, &ctx]() mutable { activate_backward(ctx, kind, dy, u, du); }, total_bytes({u, dy, du})};
}

Operation add_norm(Context& ctx, RowCase c, DType dtype) {
    const Shape shape{c.rows, c.n};
    const Tensor x = numbers(ctx, shape, dtype), r = numbers(ctx, shape, dtype),
                 w = numbers(ctx, {c.n}, dtype);
    Tensor sum = ctx.empty(shape, dtype), y = ctx.empty(shape, dtype),
           stats = ctx.empty({c.rows, 2}, DType::f32);
    return {[=, &ctx]() mutable { espalier::add_norm(ctx, x, r, w, {}, {}, sum, y, stats); },
            total_bytes({x, r, sum, y})};
}

Operation add(Context& ctx, RowCase c, DType dtype) {
    const Tensor a = numbers(ctx, {c.rows, c.n}, dtype), b = numbers(ctx, a.shape(), dtype);
    Tensor out = ctx.empty(a.shape(), dtype);
    return {[=, &ctx]() mutable { espalier::add(ctx, a, b, out); }, total_bytes({a, b, out})};
}

Operation row_cosines(Context& ctx, RowCase c, DType dtype) {
    const Tensor a = numbers(ctx, {c.rows, c.n}, dtype), b = numbers(ctx, a.shape(), dtype);
    Tensor cosines = ctx.empty({c.rows}, DType::f64);
    return {[=, &ctx]() mutable { espalier::row_cosines(ctx, a, b, cosines); }, total_bytes({a, b, cosines})};
}

Operation adamw(Context& ctx, RowCase c, DType dtype) {
    const Tensor g = numbers(ctx, {c.size()}, DType::f32);
    Tensor w = numbers(ctx, {c.size()}, DType::f32), m = ctx.zeros({c.size()}, DType::f32),
           v = ctx.zeros({c.size()}, DType::f32);
    Tensor p = dtype == DType::f32 ? w : ctx.zeros({c.size()}, dtype);
    const FlatRuns all(ctx, {{0, c.size()}});
    return {[=, &ctx]() mutable { espalier::adamw(ctx, {}, all, g, w, m, v, p); },
            total_bytes({g, w, w, m, m, v, v}) + (dtype == DType::f32 ? 0 : total_bytes({p}))};
}

Operation square_sum(Context& ctx, RowCase c) {
    const Tensor x = numbers(ctx, {c.size()}, DType::f32);
    const FlatRuns all(ctx, {{0, c.size()}});
    return {[=, &ctx] { espalier::square_sum(ctx, x, all); }, total_bytes({x})};
}

Operation qk_norm(Context& ctx, Pass pass, HeadCase c, DType dtype) {
    const Shape shape{c.tokens, c.width()};
    const HeadCounts heads{c.query_heads, c.kv_heads};
    const Tensor x = numbers(ctx, shape, dtype), w = numbers(ctx, {c.head_dim}, dtype);
    Tensor rstd = numbers(ctx, {c.tokens, heads.normed()}, DType::f32);
    const double normed =
        static_cast<double>(c.tokens * heads.normed() * c.head_dim) * static_cast<double>(size_of(dtype));
    if (pass == Pass::forward) {
        Tensor y = x;
        return {[=, &ctx]() mutable { espalier::qk_norm(ctx, x, w, w, heads, 1e-6f, y, rstd); }, 2 * normed};
    }
    Tensor d = numbers(ctx, shape, dtype), dw = ctx.zeros({c.head_dim}, DType::f32);
    return {[=, &ctx]() mutable { qk_norm_backward(ctx, x, w, w, heads, rstd, d, dw, dw); }, 3 * normed};
}

Operation rotation(Context& ctx, RotaryCase c, DType dtype) {
    Tensor x = numbers(ctx, {c.tokens, c.width()}, dtype);
    const Tensor table = numbers(ctx, {1, c.pairs}, DType::f32),
                 positions = ctx.zeros({c.tokens}, DType::i32);
    const double turned =
        static_cast<double>(c.tokens * c.heads * 2 * c.pairs) * static_cast<double>(size_of(dtype));
    return {[=, &ctx]() mutable {
                rotate(ctx, x, table, table, positions, c.heads, c.head_dim, Rotation::forward);
            },
            2 * turned};
}

Operation embedding(Context& ctx, Pass pass, EmbeddingCase c, DType dtype) {
    const Tensor ids = indices(ctx, c.tokens, [&](int64_t i) { return c.first_id + i * 7919 % c.vocab; });
    if (pass == Pass::forward) {
        const Tensor table = numbers(ctx, {c.vocab, c.n}, dtype);
        Tensor out = ctx.empty({c.tokens, c.n}, dtype);
        return {[=, &ctx]() mutable { embed(ctx, ids, table, c.first_id, out); }, total_bytes({out, out})};
    }
    const Tensor dout = numbers(ctx, {c.tokens, c.n}, dtype);
    Tensor table = ctx.zeros({c.vocab, c.n}, DType::f32);
    return {[=, &ctx]() mutable { embed_backward(ctx, dout, ids, c.first_id, table); },
            total_bytes({dout}) + 8.0 * static_cast<double>(c.tokens * c.n)};
}

Operation swiglu_with_moments(Context& ctx, MomentsCase c, DType dtype) {
    const int64_t rows = c.samples * c.seq;
    const Tensor u = numbers(ctx, {rows, 2 * c.n}, dtype);
    Tensor y = ctx.empty({rows, c.n}, dtype), out = ctx.empty({c.samples, 3, c.n}, DType::f64);
    return {[=, &ctx]() mutable { activate_with_moments(ctx, Activation::swiglu, u, c.samples, y, out); },
            total_bytes({u, y})};
}

Operation moments(Context& ctx, MomentsCase c, DType dtype) {
    const Tensor x = numbers(ctx, {c.samples * c.seq, c.n}, dtype);
    Tensor out = ctx.empty({c.samples, 3, c.columns.size()}, DType::f64);
    return {[=, &ctx]() mutable { espalier::moments(ctx, x, c.samples, c.columns, out); }, total_bytes({x})};
}

namespace {

/// Those of the CUDA back end, also where a library would be asked first.
void own_attention(Context& ctx, const Tensor& qkv, const Tensor& starts, const AttentionShape& shape,
                   Tensor& o, Tensor& lse) {
    if constexpr (has_cuda) cuda::own_attention(ctx, qkv, starts, shape, o, lse);
}
void own_attention_backward(Context& ctx, const Tensor& d_o, const Tensor& qkv, const Tensor& starts,
                            const Tensor& o, const Tensor& lse, const AttentionShape& shape, Tensor& dqkv) {
    if constexpr (has_cuda) cuda::own_attention_backward(ctx, d_o, qkv, starts, o, lse, shape, dqkv);
}

}  // namespace

/// A product of heads costs 2 head_dim a visible pair; forward has two of them, backward four beside the
/// scores, which are made again.
Operation attention(Context& ctx, Pass pass, const AttentionShape& shape, int64_t document, DType dtype,
                    By by) {
    const int64_t tokens = shape.batch * shape.seq, width = shape.query_heads * shape.head_dim;
    const Tensor qkv = numbers(ctx, {tokens, width + 2 * shape.kv_heads * shape.head_dim}, dtype);
    Tensor starts;
    if (document < shape.seq)
        starts = indices(ctx, tokens, [&](int64_t i) { return i % shape.seq / document * document; });
    Tensor o = ctx.empty({tokens, width}, dtype);
    Tensor lse = ctx.empty({shape.batch, shape.query_heads, shape.seq}, DType::f32);
    const double product = static_cast<double>(tokens * shape.query_heads) * static_cast<double>(document) *
                           static_cast<double>(shape.head_dim);
    const bool own = by == By::own_kernels;
    const auto forward = [=, &ctx]() mutable {
        (own ? own_attention : espalier::attention)(ctx, qkv, starts, shape, o, lse);
    };
    if (pass == Pass::forward) return {forward, total_bytes({qkv, o}), 2 * product};
    espalier::attention(ctx, qkv, starts, shape, o, lse);
    const Tensor d_o = numbers(ctx, {tokens, width}, dtype);
    Tensor dqkv = ctx.empty(qkv.shape(), dtype);
    return {[=, &ctx]() mutable {
                (own ? own_attention_backward : espalier::attention_backward)(ctx, d_o, qkv, starts, o, lse,
                                                                              shape, dqkv);
            },
            total_bytes({qkv, o, d_o, dqkv}), 4 * product};
}

Operation logits(Context& ctx, int64_t rows, int64_t in, int64_t out, DType dtype) {
    const Tensor x = numbers(ctx, {rows, in}, dtype), w = numbers(ctx, {out, in}, dtype);
    Tensor y = ctx.empty({rows, out}, DType::f32);
    return {[=, &ctx]() mutable { matmul(ctx, x, w, {}, y); }, total_bytes({x, w, y}),
            2 * static_cast<double>(rows * in) * static_cast<double>(out)};
}

namespace {

/// Logits of one block, and what the phases make of them.
struct Block {
    Tensor teacher, student, stats, lse_t, lse_s, sums, labels, weights, gradient;

    Block(Context& ctx, VocabularyCase c)
        : teacher(numbers(ctx, {c.rows, c.vocab}, DType::f32)),
          student(numbers(ctx, {c.rows, c.vocab}, DType::f32)),
          stats(ctx.empty({1, c.rows, 2}, DType::f32)),
          lse_t(ctx.empty({c.rows}, DType::f32)),
          lse_s(ctx.empty({c.rows}, DType::f32)),
          sums(ctx.empty({c.rows, divergence_sum_count}, DType::f32)),
          labels(ctx.zeros({c.rows}, DType::i32)),
          weights(ctx.empty({c.rows}, DType::f32)),
          gradient(ctx.zeros({c.rows, c.vocab}, DType::f32)) {
        fill(ctx, 1.0f, weights);
    }

    void statistics(Context& ctx, const Tensor& of, Tensor& lse) {
        Tensor one_part = stats.view({lse.dim(0), 2});
        softmax_statistics(ctx, of, 1.0f, one_part);
        softmax_combine(ctx, stats, lse);
    }
    void run(Context& ctx, Phase phase, Divergence kind) {
        const bool all = phase == Phase::all;
        if (all) statistics(ctx, teacher, lse_t);
        if (all || phase == Phase::statistics) statistics(ctx, student, lse_s);
        if (phase == Phase::argmax) {
            Tensor best = stats.view({lse_s.dim(0), 2});
            row_argmax(ctx, student, 0, best);
        }
        const Sides sides{teacher, student, lse_t, lse_s};
        const LossInputs in{sides, sums, lse_s, labels, weights};
        if (all && kind == Divergence::kl) return kl_gradient(ctx, {kind}, in, gradient, sums);
        if (all || phase == Phase::sums) divergence_sums(ctx, kind, sides, 1.0f, sums);
        if (all || phase == Phase::gradient) logit_gradient(ctx, {kind}, in, gradient);
    }
};

/// Read and written of a logit; gradients are f32 here.
double bytes_of(Phase phase, Divergence kind) {
    switch (phase) {
        case Phase::statistics:
        case Phase::argmax:
            return 4;
        case Phase::sums:
            return 8;
        case Phase::gradient:
            return 12;
        case Phase::all:
            return kind == Divergence::kl ? 20 : 28;
    }
    throw InternalError("unknown phase");
}

}  // namespace

Operation divergence(Context& ctx, Phase phase, Divergence kind, VocabularyCase c) {
    Block block(ctx, c);
    block.run(ctx, Phase::all, kind);
    const auto count = static_cast<double>(c.size());
    return {[=, &ctx]() mutable { block.run(ctx, phase, kind); }, bytes_of(phase, kind) * count, 0, count};
}

}  // namespace espalier::benchmarks
