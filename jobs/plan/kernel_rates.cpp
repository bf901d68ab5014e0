#include "jobs/plan/kernel_rates.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/activation.hpp"
#include "kernels/attention.hpp"
#include "kernels/divergence.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "kernels/norm.hpp"
#include "src/core/random.hpp"
#include "src/plan/real.hpp"
#include "src/plan/traffic.hpp"

namespace espalier::jobs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double sample_seconds = 0.03;
constexpr int rounds = 3;
/// So many calls may wait on a stream before the host has to.
constexpr int64_t most_started = 256;

/// In [-1, 1): zeros would take less power than numbers do, and a GPU would run faster than it can.
Tensor numbers(Context& ctx, const Shape& shape, DType dtype) {
    Tensor host = ctx.empty_on_host(shape, DType::f32);
    float* const values = host.data<float>();
    for (int64_t i = 0; i < host.size(); ++i) values[i] = static_cast<float>(mix64(i) >> 40) * 0x1p-23f - 1;
    Tensor wide = ctx.to_device(host);
    if (dtype == DType::f32) return wide;
    Tensor out = ctx.empty(shape, dtype);
    convert(ctx, wide, out);
    return out;
}

/// Products that the host takes longer to start than a device to compute say nothing about the device.
std::vector<plan::MatmulSample> without_host_bound(std::vector<plan::MatmulSample> samples,
                                                   double launch_seconds) {
    constexpr double enough = 4;
    constexpr size_t fewest = 2;
    const auto seconds = [](const plan::MatmulSample& s) { return 2 * s.n * s.n * s.n / s.flops_per_second; };
    auto first = samples.begin();
    while (samples.end() - first > static_cast<std::ptrdiff_t>(fewest) &&
           seconds(*first) < enough * launch_seconds)
        ++first;
    samples.erase(samples.begin(), first);
    return samples;
}

/// A layer's norms, residual sums and SwiGLU, forward and backward.
class LayerWork {
public:
    LayerWork(Context& ctx, int64_t tokens, int64_t hidden, int64_t ffn, DType dtype)
        : x_(numbers(ctx, {tokens, hidden}, dtype)),
          weight_(numbers(ctx, {hidden}, dtype)),
          up_(numbers(ctx, {tokens, 2 * ffn}, dtype)),
          y_(ctx.empty({tokens, hidden}, dtype)),
          stats_(ctx.empty({tokens, 2}, DType::f32)),
          d_x_(ctx.zeros({tokens, hidden}, dtype)),
          d_weight_(ctx.zeros({hidden}, DType::f32)),
          activated_(ctx.empty({tokens, ffn}, dtype)),
          d_up_(ctx.empty({tokens, 2 * ffn}, dtype)) {}

    void run(Context& ctx) {
        for (int half = 0; half < 2; ++half) {  // attention's and the MLP's
            norm(ctx, x_, weight_, {}, {}, y_, stats_);
            add(ctx, x_, y_, y_);
            norm_backward(ctx, y_, x_, weight_, stats_, {}, d_x_, d_weight_, none_);
            add(ctx, d_x_, y_, y_);
        }
        activate(ctx, Activation::swiglu, up_, activated_);
        activate_backward(ctx, Activation::swiglu, activated_, up_, d_up_);
    }
    double bytes() const {
        const double element = plan::element_bytes(x_.dtype()), hidden = plan::real(x_.dim(1)),
                     ffn = plan::real(activated_.dim(1));
        const double forward = 2 * plan::norm_bytes(element, hidden) +
                               2 * plan::residual_sum_bytes(element, hidden) +
                               plan::activation_bytes(element, 2, ffn);
        return 3 * forward * static_cast<double>(x_.dim(0));
    }

private:
    Tensor x_, weight_, up_, y_, stats_, d_x_, d_weight_, activated_, d_up_, none_;
};

/// What a head does with both models' logits.
class HeadWork {
public:
    HeadWork(Context& ctx, int64_t tokens, int64_t vocab, DType dtype)
        : sides_{numbers(ctx, {tokens, vocab}, DType::f32), numbers(ctx, {tokens, vocab}, DType::f32),
                 ctx.empty({tokens}, DType::f32), ctx.empty({tokens}, DType::f32)},
          stats_(ctx.empty({1, tokens, 2}, DType::f32)),
          sums_(ctx.empty({tokens, divergence_sum_count}, DType::f32)),
          row_weights_(numbers(ctx, {tokens}, DType::f32)),
          gradient_(ctx.empty({tokens, vocab}, dtype)) {}

    void run(Context& ctx) {
        summarise(ctx, sides_.teacher, sides_.lse_t);
        summarise(ctx, sides_.student, sides_.lse_s);
        divergence_sums(ctx, Divergence::kl, sides_, 1, sums_);
        logit_gradient(
            ctx, {.divergence = Divergence::kl},
            {.sides = sides_, .sums = sums_, .lse_1 = {}, .labels = {}, .row_weights = row_weights_},
            gradient_);
    }
    double bytes() const { return 1.5 * plan::bytes_per_logit * static_cast<double>(sides_.student.size()); }

private:
    void summarise(Context& ctx, const Tensor& logits, Tensor& lse) {
        Tensor own = stats_.view({logits.dim(0), 2});
        softmax_statistics(ctx, logits, 1, own);
        softmax_combine(ctx, stats_, lse);
    }

    Sides sides_;
    Tensor stats_, sums_, row_weights_, gradient_;
};

}  // namespace

double Timer::run(const std::function<void()>& work, int64_t calls, Until until) const {
    ctx_.wait();
    ranks_.barrier();
    const auto start = Clock::now();
    for (int64_t i = 0; i < calls; ++i) work();
    if (until == Until::done) ctx_.wait();
    std::array<double, 1> seconds{std::chrono::duration<double>(Clock::now() - start).count()};
    ctx_.wait();
    ranks_.all_reduce(seconds, comm::Reduction::max);
    return seconds[0] / static_cast<double>(calls);
}

double Timer::best(const std::function<void()>& work, Until until) const {
    run(work, 1, until);  // libraries load and choose kernels
    double least = run(work, 1, until);
    auto calls = std::max<int64_t>(1, static_cast<int64_t>(sample_seconds / least));
    if (until == Until::started) calls = std::min(calls, most_started);
    for (int round = 0; round < rounds; ++round) least = std::min(least, run(work, calls, until));
    return least;
}

double launch_seconds(Context& ctx, const Timer& timer) {
    if (!ctx.on_gpu()) return 0;
    Tensor x = ctx.zeros({1}, DType::f32);
    return timer.seconds_to_start([&] { fill(ctx, 0, x); });
}

plan::MatmulFit matmul_rates(Context& ctx, const Timer& timer, DType dtype, double launch_seconds) {
    // Up to those that leave a processor's caches, as a model's do: smaller ones are faster than any step is.
    constexpr int64_t smallest = 64, largest = 8192;
    constexpr double long_product = 0.05, products = 3;
    std::vector<plan::MatmulSample> samples;
    double seconds = 0;
    for (int64_t n = smallest; n <= largest && (samples.size() < 2 || seconds <= long_product); n *= 2) {
        const Tensor x = numbers(ctx, {n, n}, dtype), w = numbers(ctx, {n, n}, dtype);
        Tensor y = ctx.empty({n, n}, dtype), dw = ctx.zeros({n, n}, DType::f32);
        seconds = timer.seconds_of([&] {
            matmul(ctx, x, w, {}, y);
            matmul_backward_input(ctx, x, w, y);
            matmul_backward_weight(ctx, x, w, dw);
        });
        seconds /= products;
        const auto size = static_cast<double>(n);
        samples.push_back({size, 2 * size * size * size / seconds});
    }
    return plan::fit_matmul(without_host_bound(std::move(samples), launch_seconds));
}

double attention_rate(Context& ctx, const Timer& timer, DType dtype) {
    constexpr int64_t heads = 8, head_dim = 128, width = heads * head_dim, shortest = 64, longest = 4096;
    double rate = 0, seconds = 0;
    for (int64_t seq = shortest; seq <= longest && seconds <= long_call; seq *= 2) {
        const AttentionShape shape{.seq = seq,
                                   .query_heads = heads,
                                   .kv_heads = heads,
                                   .head_dim = head_dim,
                                   .scale = 1 / std::sqrt(static_cast<float>(head_dim))};
        const Tensor qkv = numbers(ctx, {seq, 3 * width}, dtype), d_o = numbers(ctx, {seq, width}, dtype);
        Tensor o = ctx.empty({seq, width}, dtype), lse = ctx.empty({1, heads, seq}, DType::f32),
               dqkv = ctx.empty({seq, 3 * width}, dtype);
        seconds = timer.seconds_of([&] {
            attention(ctx, qkv, {}, shape, o, lse);
            attention_backward(ctx, d_o, qkv, {}, o, lse, shape, dqkv);
        });
        rate = 3.5 * 2 * static_cast<double>(seq * seq * width) / seconds;
    }
    return rate;
}

double memory_rate(Context& ctx, const Timer& timer, double memory) {
    constexpr int64_t on_cpu = int64_t{64} << 20, smallest = int64_t{4} << 20, largest = int64_t{1} << 30;
    constexpr double busy = 1e-3;
    double rate = 0, seconds = 0;
    for (int64_t bytes = ctx.on_gpu() ? smallest : on_cpu; bytes <= largest; bytes *= 4) {
        const Shape shape{bytes / 4};
        const Tensor a = ctx.zeros(shape, DType::f32), b = ctx.zeros(shape, DType::f32);
        Tensor sum = ctx.zeros(shape, DType::f32);
        seconds = timer.seconds_of([&] { add(ctx, a, b, sum); });
        rate = 3 * static_cast<double>(a.bytes()) / seconds;
        if (!ctx.on_gpu() || seconds >= busy || 4 * 3 * static_cast<double>(bytes) > memory / 4) break;
    }
    return rate;
}

double elementwise_rate(Context& ctx, const Timer& timer, DType dtype) {
    // A model of 24 layers and a vocabulary of 49152 has 2048 logits a layer.
    constexpr int64_t vocab_share = 2048, hidden = 1024, ffn = 3 * hidden, fewest = 32, most = 32768;
    double rate = 0, seconds = 0;
    for (int64_t tokens = fewest; tokens <= most && seconds <= long_call; tokens *= 4) {
        LayerWork layer(ctx, tokens, hidden, ffn, dtype);
        HeadWork head(ctx, tokens, vocab_share, dtype);
        seconds = timer.seconds_of([&] {
            layer.run(ctx);
            head.run(ctx);
        });
        rate = (layer.bytes() + head.bytes()) / seconds;
    }
    return rate;
}

}  // namespace espalier::jobs
