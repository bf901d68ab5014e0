#include "jobs/plan/calibrate.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <optional>

#include "kernels/attention.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "src/comm/mpi.hpp"
#include "src/core/device.hpp"
#include "src/core/has_cuda.hpp"
#include "src/core/random.hpp"
#include "src/plan/calibrate.hpp"

namespace espalier::jobs {
namespace {

constexpr double sample_seconds = 0.03;
constexpr int rounds = 3;
/// What is measured at growing sizes has grown enough when it takes so long.
constexpr double long_call = 0.02;

/// Times work on all ranks of a communicator at once.
class Timer {
public:
    Timer(Context& ctx, const comm::Communicator& ranks) : ctx_(ctx), ranks_(ranks) {}

    /// Seconds of a call until its results are there, on the slowest rank, best of some rounds. All ranks
    /// make the same number of calls.
    double seconds_of(const std::function<void()>& work) const { return best(work, Until::done); }
    /// Until it is put on the stream.
    double seconds_to_start(const std::function<void()>& work) const { return best(work, Until::started); }

private:
    using Clock = std::chrono::steady_clock;
    enum class Until { started, done };
    /// So many calls may wait on a stream before the host has to.
    static constexpr int64_t most_started = 256;

    double run(const std::function<void()>& work, int64_t calls, Until until) const {
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
    double best(const std::function<void()>& work, Until until) const {
        run(work, 1, until);  // libraries load and choose kernels
        double least = run(work, 1, until);
        auto calls = std::max<int64_t>(1, static_cast<int64_t>(sample_seconds / least));
        if (until == Until::started) calls = std::min(calls, most_started);
        for (int round = 0; round < rounds; ++round) least = std::min(least, run(work, calls, until));
        return least;
    }

    Context& ctx_;
    const comm::Communicator& ranks_;
};

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

double measure_launch(Context& ctx, const Timer& timer) {
    if (!ctx.on_gpu()) return 0;
    Tensor x = ctx.zeros({1}, DType::f32);
    return timer.seconds_to_start([&] { fill(ctx, 0, x); });
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

plan::MatmulFit measure_matmul(Context& ctx, const Timer& timer, DType dtype, double launch_seconds) {
    // Up to those that leave a processor's caches, as a model's do: smaller ones are faster than any step is.
    constexpr int64_t smallest = 64, largest = 8192;
    constexpr double long_product = 0.05;
    std::vector<plan::MatmulSample> samples;
    double seconds = 0;
    for (int64_t n = smallest; n <= largest && (samples.size() < 2 || seconds <= long_product); n *= 2) {
        const Tensor x = numbers(ctx, {n, n}, dtype), w = numbers(ctx, {n, n}, dtype);
        Tensor y = ctx.empty({n, n}, dtype);
        seconds = timer.seconds_of([&] { matmul(ctx, x, w, {}, y); });
        const auto size = static_cast<double>(n);
        samples.push_back({size, 2 * size * size * size / seconds});
    }
    return plan::fit_matmul(without_host_bound(std::move(samples), launch_seconds));
}

/// FLOP/s of attention's products, forward and backward, as the planner counts them: of a causal mask half of
/// 4 seq^2 width forward, and 2.5 times that backward.
double measure_attention(Context& ctx, const Timer& timer, DType dtype) {
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

/// Bytes of this rank's device.
double device_memory(const Session& session, const comm::Communicator& node) {
    if constexpr (has_cuda) {
        const auto bytes = static_cast<double>(device::memory().total);
        return session.common().share_device ? bytes / static_cast<double>(node.size()) : bytes;
    }
    return 0;
}

double host_memory(const comm::Communicator& node) {
    return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE)) /
           static_cast<double>(node.size());
}

/// What driver and libraries hold, by now, of the fullest rank's `memory` bytes of a device.
double reserved_memory([[maybe_unused]] Session& session, [[maybe_unused]] double memory) {
    if constexpr (has_cuda) {
        // What others hold on a device that is shared is not told apart.
        if (session.common().share_device) return 0;
        session.context().wait();
        session.context().trim();
        std::array<double, 1> held{std::max(0.0, memory - static_cast<double>(device::memory().free))};
        session.world().all_reduce(held, comm::Reduction::max);
        return held[0];
    }
    return 0;
}

/// Bytes/s of two arrays read and one written, larger than any cache: on a device they grow until it is busy
/// with them, as far as its `memory` bytes go.
double measure_memory(Context& ctx, const Timer& timer, double memory) {
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

plan::Link measure_link(Context& ctx, const comm::Communicator& ranks) {
    ranks.attach(ctx);
    const Timer timer(ctx, ranks);
    std::vector<plan::CollectiveSample> samples;
    double seconds = 0;
    for (const int64_t kilobytes : {1, 16, 256, 4 << 10, 64 << 10, 256 << 10}) {
        if (kilobytes > 4 << 10 && (!ctx.on_gpu() || seconds > long_call)) break;
        Tensor x = ctx.zeros({kilobytes * 256}, DType::f32);
        seconds = timer.seconds_of([&] { ranks.all_reduce(ctx, x); });
        samples.push_back({static_cast<double>(x.bytes()), seconds});
    }
    return plan::fit_all_reduce(samples, ranks.size());
}

/// Ranks of the world with this colour.
comm::Communicator split(const comm::Communicator& world, int colour) {
    MPI_Comm part = MPI_COMM_NULL;
    CHECK_MPI(MPI_Comm_split(world.handle(), colour, world.rank(), &part));
    return comm::Communicator(part);
}

comm::Communicator ranks_of_node() {
    MPI_Comm node = MPI_COMM_NULL;
    CHECK_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    return comm::Communicator(node);
}

/// In the dtype that was asked for, or in all that there are products in: then the fastest one's curve and
/// attention stand for all.
void measure_computing(Session& session, const Timer& timer, std::optional<DType> asked, plan::System& s) {
    Context& ctx = session.context();
    // Of nodes of several kinds the weakest decides: all ranks measure together.
    const auto all_have = [&](DType dtype) {
        return session.world().all_reduce(int64_t{has_native_matmul(ctx, dtype) ? 0 : 1},
                                          comm::Reduction::max) == 0;
    };
    s.launch_seconds = measure_launch(ctx, timer);
    DType fastest = DType::f32;
    for (const DType dtype : {DType::f32, DType::bf16}) {
        if (asked ? dtype != *asked : !all_have(dtype)) continue;
        const auto fit = measure_matmul(ctx, timer, dtype, s.launch_seconds);
        s.peak_flops[dtype] = fit.peak;
        s.matmul = fit.curve;
        fastest = dtype;
    }
    s.attention_efficiency = std::min(1.0, measure_attention(ctx, timer, fastest) / s.peak(fastest));
}

std::string source(const Session& session, int on_a_node, int nodes) {
    const Context& ctx = session.context();
    return fmt::format(
        "espalier plan --calibrate on {} ranks {}, {} on a node; node link {}, network {}; a rank counts "
        "as a GPU",
        session.world().size(), ctx.on_gpu() ? "of a GPU each" : fmt::format("of {} threads", ctx.threads()),
        on_a_node, on_a_node > 1 ? "measured" : "taken from memory (one rank on a node)",
        nodes > 1 ? "measured" : "taken from the node's link (one node)");
}

}  // namespace

plan::System calibrate(Session& session) {
    Context& ctx = session.context();
    const comm::Communicator node = ranks_of_node(), across = split(session.world(), node.rank());
    const Timer timer(ctx, session.world());
    plan::System s;
    s.name = "this machine";
    s.source = source(session, node.size(), across.size());
    s.gpus_per_node = node.size();
    s.memory_bytes = ctx.on_gpu() ? device_memory(session, node) : host_memory(node);
    measure_computing(session, timer, dtype_from_string(session.common().dtype), s);
    s.memory_bandwidth = measure_memory(ctx, timer, s.memory_bytes);
    const plan::Link memory{s.memory_bandwidth, 1, 1e-6};
    s.node = node.size() > 1 ? measure_link(ctx, node) : memory;
    s.network = across.size() > 1 ? measure_link(ctx, across) : s.node;
    if (ctx.on_gpu()) s.reserved_bytes = reserved_memory(session, s.memory_bytes);
    return s;
}

}  // namespace espalier::jobs
