#include "jobs/plan/calibrate.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "jobs/plan/kernel_rates.hpp"
#include "kernels/matmul.hpp"
#include "src/comm/mpi.hpp"
#include "src/core/device.hpp"
#include "src/core/has_cuda.hpp"
#include "src/plan/calibrate.hpp"

namespace espalier::jobs {
namespace {

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

/// In the dtype that was asked for, or in all that there are products in: then the fastest one's curve,
/// attention and element-wise work stand for all.
void measure_computing(Session& session, const Timer& timer, std::optional<DType> asked, plan::System& s) {
    Context& ctx = session.context();
    // Of nodes of several kinds the weakest decides: all ranks measure together.
    const auto all_have = [&](DType dtype) { return !session.world().any(!has_native_matmul(ctx, dtype)); };
    s.launch_seconds = launch_seconds(ctx, timer);
    DType fastest = DType::f32;
    for (const DType dtype : {DType::f32, DType::bf16}) {
        if (asked ? dtype != *asked : !all_have(dtype)) continue;
        const auto fit = matmul_rates(ctx, timer, dtype, s.launch_seconds);
        s.peak_flops[dtype] = fit.peak;
        s.matmul = fit.curve;
        fastest = dtype;
    }
    s.attention_efficiency = std::min(1.0, attention_rate(ctx, timer, fastest) / s.peak(fastest));
    s.memory_bandwidth = memory_rate(ctx, timer, s.memory_bytes);
    s.memory_efficiency = std::min(1.0, elementwise_rate(ctx, timer, fastest) / s.memory_bandwidth);
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
    const plan::Link memory{s.memory_bandwidth, 1, 1e-6};
    s.node = node.size() > 1 ? measure_link(ctx, node) : memory;
    s.network = across.size() > 1 ? measure_link(ctx, across) : s.node;
    if (ctx.on_gpu()) s.reserved_bytes = reserved_memory(session, s.memory_bytes);
    return s;
}

}  // namespace espalier::jobs
