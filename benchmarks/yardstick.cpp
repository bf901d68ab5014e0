#include "benchmarks/yardstick.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "kernels/cpu/onednn_matmul.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/random.hpp"

namespace espalier::benchmarks {
namespace {

constexpr double seconds_of_a_sample = 0.04;

/// GFLOP/s of as many calls as fill a sample.
double sample(double flops, const std::function<void()>& work) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    double calls = 0, seconds = 0;
    do {
        work();
        ++calls;
        seconds = std::chrono::duration<double>(Clock::now() - start).count();
    } while (seconds < seconds_of_a_sample);
    return flops * calls / seconds * 1e-9;
}

double square_sample(Context& ctx, DType dtype, int64_t n) {
    const Tensor a = numbers(ctx, {n, n}, dtype), b = numbers(ctx, {n, n}, dtype);
    Tensor c = ctx.empty({n, n}, dtype);
    const auto product = [&] {
        ctx.resource<cpu::OneDnnMatmul>().run(
            {n, n, n, cpu::Order::as_stored, cpu::Order::as_stored, Store::overwrite}, a, b, {}, c);
    };
    product();
    const auto size = static_cast<double>(n);
    return sample(2 * size * size * size, product);
}

struct Best {
    double rate = 0;
    int64_t n = 0;  ///< the size that gave it
};

Best& best_square(Context& ctx, DType dtype) {
    static std::map<DType, Best> known;
    Best& best = known[dtype];
    if (best.n > 0) return best;
    for (int round = 0; round < 3; ++round) {
        for (const int64_t n : {1024, 1536, 2048, 3072, 4096}) {
            const double rate = square_sample(ctx, dtype, n);
            if (rate > best.rate) best = {rate, n};
        }
    }
    return best;
}

}  // namespace

double yardstick(Context& ctx, DType dtype) {
    Best& g = best_square(ctx, dtype);
    g.rate = std::max(g.rate, square_sample(ctx, dtype, g.n));
    return g.rate;
}

Rate measure(Context& ctx, DType dtype, double flops, const std::function<void()>& work) {
    work();
    double best = 0, g = 0;
    for (int round = 0; round < 7; ++round) {
        g = yardstick(ctx, dtype);
        best = std::max(best, sample(flops, work));
    }
    return {best, best / g};
}

Context make_context() {
    return Context({Device::cpu, omp_get_max_threads()});
}

Tensor numbers(Context& ctx, Shape shape, DType dtype) {
    Tensor out = ctx.empty(std::move(shape), dtype);
    const int64_t drawn = std::min(out.size(), int64_t{1} << 22);  // over and over
    const Tensor host = ctx.empty_on_host({drawn}, DType::f32);
    uint64_t counter = 0;
    for (float& x : host.span<float>()) x = static_cast<float>(uniform(1, ++counter) - 0.5);
    const Tensor values = ctx.to_device(host), flat = out.view({out.size()});
    for (int64_t at = 0; at < out.size(); at += drawn) {
        const int64_t count = std::min(drawn, out.size() - at);
        Tensor part = flat.slice(at, {count});
        convert(ctx, values.slice(0, {count}), part);
    }
    return out;
}

}  // namespace espalier::benchmarks
