#include "jobs/calibrate.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <functional>

#include "kernels/elementwise.hpp"
#include "kernels/matmul.hpp"
#include "src/comm/mpi.hpp"
#include "src/plan/calibrate.hpp"

namespace espalier::jobs {
namespace {

constexpr double sample_seconds = 0.03;
constexpr int rounds = 3;

/// Seconds of a call on the slowest rank, best of some rounds. All ranks make the same number of calls.
double seconds_of(const comm::Communicator& ranks, const std::function<void()>& work) {
    using Clock = std::chrono::steady_clock;
    const auto run = [&](int64_t calls) {
        ranks.barrier();
        const auto start = Clock::now();
        for (int64_t i = 0; i < calls; ++i) work();
        std::array<double, 1> seconds{std::chrono::duration<double>(Clock::now() - start).count()};
        ranks.all_reduce(seconds, comm::Reduction::max);
        return seconds[0] / static_cast<double>(calls);
    };
    double best = run(1);
    const auto calls = std::max<int64_t>(1, static_cast<int64_t>(sample_seconds / best));
    for (int round = 0; round < rounds; ++round) best = std::min(best, run(calls));
    return best;
}

plan::MatmulFit measure_matmul(Session& session, DType dtype) {
    Context& ctx = session.context();
    std::vector<plan::MatmulSample> samples;
    for (const int64_t n : {64, 128, 256, 512, 1024}) {
        const Tensor x = ctx.zeros({n, n}, dtype), w = ctx.zeros({n, n}, dtype);
        Tensor y = ctx.empty({n, n}, dtype);
        const double seconds = seconds_of(session.world(), [&] { matmul(ctx, x, w, {}, y); });
        const auto size = static_cast<double>(n);
        samples.push_back({size, 2 * size * size * size / seconds});
    }
    return plan::fit_matmul(samples);
}

/// Two arrays read and one written, larger than any cache.
double measure_memory(Session& session) {
    Context& ctx = session.context();
    const Shape shape{int64_t{16} << 20};
    const Tensor a = ctx.zeros(shape, DType::f32), b = ctx.zeros(shape, DType::f32);
    Tensor sum = ctx.zeros(shape, DType::f32);
    return 3 * static_cast<double>(a.bytes()) / seconds_of(session.world(), [&] { add(ctx, a, b, sum); });
}

plan::Link measure_link(Session& session, const comm::Communicator& ranks) {
    Context& ctx = session.context();
    std::vector<plan::CollectiveSample> samples;
    for (const int64_t kilobytes : {1, 16, 256, 4096}) {
        Tensor x = ctx.zeros({kilobytes * 256}, DType::f32);
        const double seconds = seconds_of(ranks, [&] { ranks.all_reduce(ctx, x); });
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

}  // namespace

plan::System calibrate(Session& session) {
    const comm::Communicator node = ranks_of_node(), across = split(session.world(), node.rank());
    plan::System s;
    const auto wide = measure_matmul(session, DType::f32);
    s.peak_flops["f32"] = wide.peak;
    s.matmul = wide.curve;
    if (has_native_matmul(session.context(), DType::bf16)) {
        const auto narrow = measure_matmul(session, DType::bf16);
        s.peak_flops["bf16"] = narrow.peak;
        s.matmul = narrow.curve;
    }
    s.memory_bandwidth = measure_memory(session);
    s.gpus_per_node = node.size();
    s.memory_bytes = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                     static_cast<double>(sysconf(_SC_PAGE_SIZE)) / static_cast<double>(node.size());

    const plan::Link memory{s.memory_bandwidth, 1, 1e-6};
    s.node = node.size() > 1 ? measure_link(session, node) : memory;
    s.network = across.size() > 1 ? measure_link(session, across) : s.node;
    s.name = "this machine";
    s.source = fmt::format(
        "espalier plan --calibrate on {} ranks of {} threads, {} on a node; node link {}, network {}; a rank "
        "counts as a GPU; attention_efficiency is not measured",
        session.world().size(), session.context().threads(), node.size(),
        node.size() > 1 ? "measured" : "taken from memory (one rank on a node)",
        across.size() > 1 ? "measured" : "taken from the node's link (one node)");
    return s;
}

}  // namespace espalier::jobs
