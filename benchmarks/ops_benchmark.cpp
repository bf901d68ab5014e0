// Memory-bound kernels at the shapes of their tests' tables. `of_copy` is the bytes they must move by the
// rate of a large copy in this run (above 1: the case fits a cache); `of_head` is time relative to the
// products of teacher's and student's heads that made the logits, at the yardstick's rate.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>

#include "benchmarks/main.hpp"
#include "benchmarks/operations.hpp"
#include "benchmarks/yardstick.hpp"
#include "kernels/elementwise.hpp"

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
        return 2.0 * static_cast<double>(from.bytes()) / best_seconds([&] { copy(ctx, from, to); });
    }();
    return rate;
}

using Prepare = std::function<Operation(Context&)>;

void run(benchmark::State& state, const Prepare& prepare) {
    Context ctx = make_context();
    const Operation op = prepare(ctx);
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
void enter(std::string_view op, const Case& c, std::string_view variant, Prepare prepare) {
    if (c.size() < large_size) return;
    const auto title = fmt::format("{}/{}/{}", op, c.name, variant);
    benchmark::RegisterBenchmark(title.c_str(),
                                 [prepare = std::move(prepare)](auto& state) { run(state, prepare); })
        ->UseManualTime()
        ->Iterations(1)
        ->Unit(benchmark::kMicrosecond);
}

/// op and op_backward.
template <class Case, class Make>
void enter_passes(std::string_view op, const Case& c, DType dtype, Make make) {
    enter(op, c, to_string(dtype), [=](Context& ctx) { return make(ctx, Pass::forward); });
    enter(fmt::format("{}_backward", op), c, to_string(dtype),
          [=](Context& ctx) { return make(ctx, Pass::backward); });
}

void enter_row_ops(RowCase c, DType dtype) {
    const auto type = to_string(dtype);
    enter_passes("norm", c, dtype, [=](Context& ctx, Pass pass) { return norm(ctx, pass, c, dtype); });
    for (const Activation kind : {Activation::swiglu, Activation::relu2, Activation::gelu}) {
        enter_passes(to_string(kind), c, dtype,
                     [=](Context& ctx, Pass pass) { return activation(ctx, pass, kind, c, dtype); });
    }
    enter("add", c, type, [=](Context& ctx) { return add(ctx, c, dtype); });
    enter("row_cosines", c, type, [=](Context& ctx) { return row_cosines(ctx, c, dtype); });
    enter("adamw", c, type, [=](Context& ctx) { return adamw(ctx, c, dtype); });
}

void enter_model_ops(DType dtype) {
    const auto type = to_string(dtype);
    for (const auto& c : head_cases)
        enter_passes("qk_norm", c, dtype,
                     [=](Context& ctx, Pass pass) { return qk_norm(ctx, pass, c, dtype); });
    for (const auto& c : rotary_cases)
        enter("rotate", c, type, [=](Context& ctx) { return rotation(ctx, c, dtype); });
    for (const auto& c : embedding_cases)
        enter_passes("embed", c, dtype,
                     [=](Context& ctx, Pass pass) { return embedding(ctx, pass, c, dtype); });
    for (const auto& c : moments_cases)
        enter("moments", c, type, [=](Context& ctx) { return moments(ctx, c, dtype); });
}

void enter_divergences(VocabularyCase c) {
    const auto phase = [&](std::string_view op, Phase which, Divergence kind, std::string_view variant) {
        enter(op, c, variant, [=](Context& ctx) { return divergence(ctx, which, kind, c); });
    };
    phase("softmax_statistics", Phase::statistics, Divergence::kl, "f32");
    phase("row_argmax", Phase::argmax, Divergence::kl, "f32");
    for (const Divergence kind : {Divergence::kl, Divergence::reverse_kl, Divergence::jsd, Divergence::tvd,
                                  Divergence::mse, Divergence::cosine}) {
        phase("divergence_sums", Phase::sums, kind, to_string(kind));
        phase("logit_gradient", Phase::gradient, kind, to_string(kind));
        phase("all_phases", Phase::all, kind, to_string(kind));
    }
}

}  // namespace

void add_benchmarks() {
    for (const auto& c : test::vocabulary_cases) enter_divergences(c);
    for (const DType dtype : test::float_types) {
        for (const auto& c : test::row_cases) enter_row_ops(c, dtype);
        enter_model_ops(dtype);
    }
}

}  // namespace espalier::benchmarks
