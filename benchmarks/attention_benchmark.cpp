// Causal attention of SmolLM2's heads. FLOPs are those of the visible half of the scores: 4 head_dim a head
// and pair forward, 8 head_dim backward (recomputing the scores is not counted); `of_G` as in
// matmul_benchmark.
#include <benchmark/benchmark.h>

#include <cmath>

#include "benchmarks/main.hpp"
#include "benchmarks/operations.hpp"
#include "benchmarks/yardstick.hpp"

namespace espalier::benchmarks {
namespace {

void run(benchmark::State& state, Pass pass, DType dtype, const AttentionShape& shape, int64_t document) {
    Context ctx = make_context();
    const Operation op = attention(ctx, pass, shape, document, dtype);
    for (auto _ : state) {
        const Rate rate = measure(ctx, dtype, op.flops, op.work);
        state.SetIterationTime(op.flops / rate.gflops * 1e-9);
        state.counters["GFLOPS"] = rate.gflops;
        state.counters["of_G"] = rate.of_g;
    }
}

void enter(int64_t batch, int64_t seq, int64_t document, DType dtype) {
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
    enter(4, 512, 512, DType::f32);
    enter(4, 512, 512, DType::bf16);
    enter(1, 512, 512, DType::f32);
    enter(1, 2048, 2048, DType::f32);
    enter(1, 2048, 256, DType::f32);
}

}  // namespace espalier::benchmarks
