// Matrix products through our interface, at the shapes of SmolLM2 and of a student half its size.
// `of_G` is the rate relative to the best oneDNN matmul of this run so far, which rises seldom after the
// first row.
#include "kernels/matmul.hpp"

#include <benchmark/benchmark.h>

#include "benchmarks/main.hpp"
#include "benchmarks/yardstick.hpp"

namespace espalier::benchmarks {
namespace {

struct Layer {
    const char* name;
    int64_t n, k;
    bool is_head = false;
};
constexpr Layer layers[] = {
    {"qkv", 960, 576},
    {"attention_out", 576, 576},
    {"mlp_in", 3072, 576},
    {"mlp_out", 576, 1536},
    {"student_qkv", 960, 384},
    {"student_attention_out", 384, 576},
    {"student_mlp_in", 2048, 384},
    {"student_mlp_out", 384, 1024},
};
constexpr Layer heads[] = {{"head", 49152, 576, true}, {"student_head", 49152, 384, true}};

enum class Pass { forward, input, weight };

void run(benchmark::State& state, Pass pass, DType dtype, int64_t m, Layer layer) {
    Context ctx = make_context();
    const auto [name, n, k, is_head] = layer;
    const Tensor x = numbers(ctx, {m, k}, dtype), w = numbers(ctx, {n, k}, dtype),
                 dy = numbers(ctx, {m, n}, dtype);
    // Logits are f32, whatever the dtype of their factors.
    Tensor y = ctx.empty({m, n}, is_head ? DType::f32 : dtype), dx = ctx.empty({m, k}, dtype),
           dw = ctx.zeros({n, k}, DType::f32);
    const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
    for (auto _ : state) {
        const Rate rate = measure(ctx, dtype, flops, [&] {
            switch (pass) {
                case Pass::forward:
                    return matmul(ctx, x, w, {}, y);
                case Pass::input:
                    return matmul_backward_input(ctx, dy, w, dx);
                case Pass::weight:
                    return matmul_backward_weight(ctx, dy, x, dw);
            }
        });
        state.SetIterationTime(flops / rate.gflops * 1e-9);
        state.counters["GFLOPS"] = rate.gflops;
        state.counters["of_G"] = rate.of_g;
    }
}

void add(DType dtype, int64_t m, Layer layer) {
    constexpr std::pair<const char*, Pass> passes[] = {
        {"forward", Pass::forward}, {"input_gradient", Pass::input}, {"weight_gradient", Pass::weight}};
    for (const auto& [name, pass] : passes) {
        const auto title = fmt::format("{}/{}/tokens:{}/{}", layer.name, name, m, to_string(dtype));
        benchmark::RegisterBenchmark(title.c_str(), run, pass, dtype, m, layer)
            ->UseManualTime()
            ->Iterations(1)
            ->Unit(benchmark::kMillisecond);
    }
}

void add_all(DType dtype) {
    for (const int64_t n : {1024, 2048, 4096}) add(dtype, n, {"square", n, n});
    for (const Layer& layer : layers) {
        for (const int64_t m : {512, 2048}) add(dtype, m, layer);
    }
    for (const Layer& layer : heads) {  // the head runs in blocks of tokens
        for (const int64_t m : {128, 256, 512}) add(dtype, m, layer);
    }
}

}  // namespace

void add_benchmarks() {
    Context ctx = make_context();
    for (const DType dtype : {DType::f32, DType::bf16}) {
        if (!has_native_matmul(ctx, dtype)) continue;
        benchmark::AddCustomContext(fmt::format("G_{}", to_string(dtype)),
                                    fmt::format("{:.1f} GFLOP/s", yardstick(ctx, dtype)));
        add_all(dtype);
    }
}

}  // namespace espalier::benchmarks
