// Memory-bound kernels at the shapes of their tests' tables. `of_copy` is the bytes they must move by the
// rate of a large copy in this run (above 1: the case fits a cache); `of_head` is time relative to the
// products of teacher's and student's heads that made the logits, at the yardstick's rate.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "benchmarks/main.hpp"
#include "benchmarks/yardstick.hpp"
#include "kernels/activation.hpp"
#include "kernels/adamw.hpp"
#include "kernels/divergence.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"
#include "kernels/norm.hpp"
#include "kernels/rotary.hpp"
#include "kernels/statistics.hpp"
#include "tests/kernels/cases.hpp"

namespace espalier::benchmarks {
namespace {

using namespace espalier::test;
using Work = std::function<void()>;

/// A product that makes teacher's logits costs 2 * 576 FLOP for each, the student's three 6 * 384.
constexpr double head_flops_per_logit = 2 * 576 + 6 * 384;

double seconds(const Work& work) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double best_seconds(const Work& work) {
    double best = seconds(work);
    for (int round = 0; round < 9; ++round) best = std::min(best, seconds(work));
    return best;
}

/// Bytes per second of a copy that no cache holds, read and written bytes both counted.
double copy_rate(Context& ctx) {
    static const double rate = [&] {
        const Tensor from = ctx.zeros({int64_t{64} << 20}, DType::f32);
        Tensor to = ctx.zeros(from.shape(), DType::f32);
        return 2.0 * static_cast<double>(from.bytes()) / best_seconds([&] { convert(ctx, from, to); });
    }();
    return rate;
}

/// Makes the work of one case; the tensors live in it.
struct Prepared {
    Work work;
    double bytes = 0;   ///< read and written at least
    double logits = 0;  ///< of a divergence
};
using Prepare = std::function<Prepared(Context&)>;

void run(benchmark::State& state, const Prepare& prepare) {
    Context ctx = make_context();
    const Prepared op = prepare(ctx);
    for (auto _ : state) {
        const double best = best_seconds(op.work);
        state.SetIterationTime(best);
        state.counters["GB/s"] = op.bytes / best * 1e-9;
        state.counters["of_copy"] = op.bytes / best / copy_rate(ctx);
        if (op.logits > 0) {
            const double head = op.logits * head_flops_per_logit / (1e9 * yardstick(ctx, DType::f32));
            state.counters["ns/logit"] = best / op.logits * 1e9;
            state.counters["of_head"] = best / head;
        }
    }
}

template <class Case>
void add(std::string_view op, const Case& c, std::string_view variant, Prepare prepare) {
    if (c.size() < large_size) return;
    const auto title = fmt::format("{}/{}/{}", op, c.name, variant);
    benchmark::RegisterBenchmark(title.c_str(),
                                 [prepare = std::move(prepare)](auto& state) { run(state, prepare); })
        ->UseManualTime()
        ->Iterations(1)
        ->Unit(benchmark::kMicrosecond);
}

double total_bytes(std::initializer_list<Tensor> tensors) {
    double sum = 0;
    for (const Tensor& t : tensors) sum += static_cast<double>(t.bytes());
    return sum;
}

void add_row_ops(RowCase c, DType dtype) {
    const Shape shape{c.rows, c.n};
    add("norm", c, to_string(dtype), [=](Context& ctx) {
        Tensor x = numbers(ctx, shape, dtype), w = numbers(ctx, {c.n}, dtype), y = ctx.empty(shape, dtype);
        Tensor stats = ctx.empty({c.rows, 2}, DType::f32);
        return Prepared{[=, &ctx]() mutable { norm(ctx, x, w, {}, {}, y, stats); }, total_bytes({x, y})};
    });
    add("norm_backward", c, to_string(dtype), [=](Context& ctx) {
        Tensor x = numbers(ctx, shape, dtype), w = numbers(ctx, {c.n}, dtype),
               dy = numbers(ctx, shape, dtype);
        Tensor dx = ctx.zeros(shape, dtype), dw = ctx.zeros({c.n}, DType::f32), none;
        Tensor stats = numbers(ctx, {c.rows, 2}, DType::f32);
        return Prepared{[=, &ctx]() mutable { norm_backward(ctx, dy, x, w, stats, {}, dx, dw, none); },
                        total_bytes({x, dy, dx, dx})};
    });
    for (const Activation kind : {Activation::swiglu, Activation::relu2, Activation::gelu}) {
        const Shape in{c.rows, is_gated(kind) ? 2 * c.n : c.n};
        add(to_string(kind), c, to_string(dtype), [=](Context& ctx) {
            Tensor u = numbers(ctx, in, dtype), y = ctx.empty(shape, dtype);
            return Prepared{[=, &ctx]() mutable { activate(ctx, kind, u, y); }, total_bytes({u, y})};
        });
        add(fmt::format("{}_backward", to_string(kind)), c, to_string(dtype), [=](Context& ctx) {
            Tensor u = numbers(ctx, in, dtype), dy = numbers(ctx, shape, dtype), du = ctx.empty(in, dtype);
            return Prepared{[=, &ctx]() mutable { activate_backward(ctx, kind, dy, u, du); },
                            total_bytes({u, dy, du})};
        });
    }
    add("add", c, to_string(dtype), [=](Context& ctx) {
        Tensor a = numbers(ctx, shape, dtype), b = numbers(ctx, shape, dtype), out = ctx.empty(shape, dtype);
        return Prepared{[=, &ctx]() mutable { espalier::add(ctx, a, b, out); }, total_bytes({a, b, out})};
    });
    add("cosine_sum", c, to_string(dtype), [=](Context& ctx) {
        Tensor a = numbers(ctx, shape, dtype), b = numbers(ctx, shape, dtype);
        return Prepared{[=, &ctx] { benchmark::DoNotOptimize(cosine_sum(ctx, a, b)); }, total_bytes({a, b})};
    });
    add("adamw", c, to_string(dtype), [=](Context& ctx) {
        Tensor g = numbers(ctx, {c.size()}, DType::f32), w = numbers(ctx, {c.size()}, DType::f32);
        Tensor m = ctx.zeros({c.size()}, DType::f32), v = ctx.zeros({c.size()}, DType::f32);
        Tensor p = dtype == DType::f32 ? w : ctx.zeros({c.size()}, dtype);
        const FlatRuns all(ctx, {{0, c.size()}});
        return Prepared{[=, &ctx]() mutable { adamw(ctx, {}, all, g, w, m, v, p); },
                        total_bytes({g, w, w, m, m, v, v}) + (dtype == DType::f32 ? 0 : total_bytes({p}))};
    });
}

void add_model_ops(DType dtype) {
    for (const auto& c : rotary_cases) {
        add("rotate", c, to_string(dtype), [=](Context& ctx) {
            Tensor x = numbers(ctx, {c.tokens, c.width()}, dtype),
                   table = numbers(ctx, {1, c.pairs}, DType::f32);
            Tensor positions = ctx.zeros({c.tokens}, DType::i32);
            const double turned =
                static_cast<double>(c.tokens * c.heads * 2 * c.pairs) * static_cast<double>(size_of(dtype));
            return Prepared{[=, &ctx]() mutable {
                                rotate(ctx, x, table, table, positions, c.heads, c.head_dim,
                                       Rotation::forward);
                            },
                            2 * turned};
        });
    }
    for (const auto& c : embedding_cases) {
        const auto ids = [=](Context& ctx) {
            Tensor out = ctx.empty({c.tokens}, DType::i32);
            for (int64_t i = 0; i < c.tokens; ++i) {
                out.data<int32_t>()[i] = static_cast<int32_t>(c.first_id + i * 7919 % c.vocab);
            }
            return out;
        };
        add("embed", c, to_string(dtype), [=](Context& ctx) {
            Tensor table = numbers(ctx, {c.vocab, c.n}, dtype), out = ctx.empty({c.tokens, c.n}, dtype);
            return Prepared{[=, &ctx, ids = ids(ctx)]() mutable { embed(ctx, ids, table, c.first_id, out); },
                            total_bytes({out, out})};
        });
        add("embed_backward", c, to_string(dtype), [=](Context& ctx) {
            Tensor table = ctx.zeros({c.vocab, c.n}, DType::f32), dout = numbers(ctx, {c.tokens, c.n}, dtype);
            return Prepared{
                [=, &ctx, ids = ids(ctx)]() mutable { embed_backward(ctx, dout, ids, c.first_id, table); },
                total_bytes({dout}) + 8.0 * static_cast<double>(c.tokens * c.n)};
        });
    }
    for (const auto& c : moments_cases) {
        add("moments", c, to_string(dtype), [=](Context& ctx) {
            Tensor x = numbers(ctx, {c.samples * c.seq, c.n}, dtype);
            Tensor out = ctx.empty({c.samples, 3, c.columns.size()}, DType::f32);
            return Prepared{[=, &ctx]() mutable { moments(ctx, x, c.samples, c.columns, out); },
                            total_bytes({x})};
        });
    }
}

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

    void statistics(Context& ctx, const Tensor& logits, Tensor& lse) {
        Tensor one_part = stats.view({lse.dim(0), 2});
        softmax_statistics(ctx, logits, 1.0f, one_part);
        softmax_combine(ctx, stats, lse);
    }
    void all_phases(Context& ctx, Divergence kind) {
        statistics(ctx, teacher, lse_t);
        statistics(ctx, student, lse_s);
        divergence_sums(ctx, kind, teacher, student, lse_t, lse_s, 1.0f, sums);
        backward(ctx, kind);
    }
    void backward(Context& ctx, Divergence kind) {
        logit_gradient(ctx, {kind}, teacher, student, lse_t, lse_s, sums, lse_s, labels, weights, gradient);
    }
};

void add_divergences(VocabularyCase c) {
    const auto logits = static_cast<double>(c.size());
    add("softmax_statistics", c, "f32", [=](Context& ctx) {
        return Prepared{[=, &ctx, b = Block(ctx, c)]() mutable { b.statistics(ctx, b.student, b.lse_s); },
                        4 * logits, logits};
    });
    add("row_argmax", c, "f32", [=](Context& ctx) {
        return Prepared{[=, &ctx, b = Block(ctx, c)]() mutable {
                            Tensor best = b.stats.view({c.rows, 2});
                            row_argmax(ctx, b.student, 0, best);
                        },
                        4 * logits, logits};
    });
    for (const Divergence kind :
         {Divergence::kl, Divergence::reverse_kl, Divergence::jsd, Divergence::mse, Divergence::cosine}) {
        add("divergence_sums", c, to_string(kind), [=](Context& ctx) {
            return Prepared{[=, &ctx, b = Block(ctx, c)]() mutable {
                                divergence_sums(ctx, kind, b.teacher, b.student, b.lse_t, b.lse_s, 1.0f,
                                                b.sums);
                            },
                            8 * logits, logits};
        });
        add("logit_gradient", c, to_string(kind), [=](Context& ctx) {
            Block block(ctx, c);
            block.all_phases(ctx, kind);
            return Prepared{[=, &ctx, b = block]() mutable { b.backward(ctx, kind); }, 12 * logits, logits};
        });
        add("all_phases", c, to_string(kind), [=](Context& ctx) {
            return Prepared{[=, &ctx, b = Block(ctx, c)]() mutable { b.all_phases(ctx, kind); }, 28 * logits,
                            logits};
        });
    }
}

}  // namespace

void add_benchmarks() {
    for (const auto& c : test::vocabulary_cases) add_divergences(c);
    for (const DType dtype : test::float_types) {
        for (const auto& c : test::row_cases) add_row_ops(c, dtype);
        add_model_ops(dtype);
    }
}

}  // namespace espalier::benchmarks
