// Causal attention of SmolLM2's heads. FLOPs are those of the visible half of the scores: 4 a head and pair
// forward, 8 backward (recomputing the scores is not counted); `of_G` as in matmul_benchmark.
#include "kernels/attention.hpp"

#include <benchmark/benchmark.h>

#include <cmath>

#include "benchmarks/main.hpp"
#include "benchmarks/yardstick.hpp"
#include "src/core/exact.hpp"

namespace espalier::benchmarks {
namespace {

enum class Pass { forward, backward };

/// Sequences of documents of one length.
Tensor starts_of(Context& ctx, const AttentionShape& shape, int64_t document) {
    const Tensor host = ctx.empty_on_host({shape.batch * shape.seq}, DType::i32);
    for (int64_t i = 0; i < host.size(); ++i)
        host.data<int32_t>()[i] = narrow<int32_t>(i % shape.seq / document * document);
    return ctx.to_device(host);
}

void run(benchmark::State& state, Pass pass, DType dtype, AttentionShape shape, int64_t document) {
    Context ctx = make_context();
    const int64_t tokens = shape.batch * shape.seq, width = shape.query_heads * shape.head_dim;
    const Tensor qkv = numbers(ctx, {tokens, width + 2 * shape.kv_heads * shape.head_dim}, dtype);
    const Tensor d_o = numbers(ctx, {tokens, width}, dtype);
    Tensor o = ctx.empty({tokens, width}, dtype), dqkv = ctx.empty(qkv.shape(), dtype);
    Tensor lse = ctx.empty({shape.batch, shape.query_heads, shape.seq}, DType::f32);
    const Tensor starts = starts_of(ctx, shape, document);
    attention(ctx, qkv, starts, shape, o, lse);
    const double pairs = static_cast<double>(tokens * shape.query_heads) * static_cast<double>(document) / 2;
    const double flops = (pass == Pass::forward ? 4 : 8) * pairs * static_cast<double>(shape.head_dim);
    for (auto _ : state) {
        const Rate rate = measure(ctx, DType::f32, flops, [&] {
            if (pass == Pass::forward) return attention(ctx, qkv, starts, shape, o, lse);
            attention_backward(ctx, d_o, qkv, starts, o, lse, shape, dqkv);
        });
        state.SetIterationTime(flops / rate.gflops * 1e-9);
        state.counters["GFLOPS"] = rate.gflops;
        state.counters["of_G"] = rate.of_g;
    }
}

void add(int64_t batch, int64_t seq, int64_t document, DType dtype) {
    AttentionShape shape{batch, seq, 9, 3, 64, 3};
    shape.scale = 1.0f / std::sqrt(64.0f);
    for (const auto& [name, pass] :
         {std::pair{"forward", Pass::forward}, std::pair{"backward", Pass::backward}}) {
        const auto title = fmt::format("attention/{}/batch:{}/seq:{}/document:{}/{}", name, batch, seq,
                                       document, to_string(dtype));
        benchmark::RegisterBenchmark(title.c_str(), run, pass, dtype, shape, document)
            ->UseManualTime()
            ->Iterations(1)
            ->Unit(benchmark::kMillisecond);
    }
}

}  // namespace

void add_benchmarks() {
    add(4, 512, 512, DType::f32);
    add(4, 512, 512, DType::bf16);
    add(1, 512, 512, DType::f32);
    add(1, 2048, 2048, DType::f32);
    add(1, 2048, 256, DType::f32);
}

}  // namespace espalier::benchmarks
