// Latency and bandwidth of every collective of tensors that Communicator has, and of its broadcast of text,
// between all ranks, against what a ring could do with the bandwidth B and the latency a that neighbours
// measure in the same run:
//   all-reduce 2 (n-1)/n bytes/B + 2 (n-1) a; all-gather, reduce-scatter (n-1)/n bytes/B + (n-1) a;
//   broadcast in small pieces bytes/B + (n-1) a
// (Thakur, Rabenseifner, Gropp 2005, "Optimization of Collective Communication Operations in MPICH").
// flat: in place in one buffer, as weights and gradients of replicas go.
// On GPUs (--device cuda, one for each rank) through NCCL, without the broadcast, which is of text on the
// host.
//   mpirun -n N collectives_benchmark [--device cuda] [--max-bytes 16777216] [--rounds 10] [--json FILE]
//   [--quick]
#include <fmt/core.h>

#include <array>
#include <boost/program_options.hpp>
#include <chrono>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "benchmarks/command_line.hpp"
#include "kernels/elementwise.hpp"
#include "src/comm/communicator.hpp"
#include "src/comm/mpi.hpp"
#include "src/comm/topology.hpp"
#include "src/core/device.hpp"
#include "src/core/error.hpp"
#include "src/core/has_cuda.hpp"

namespace {

using namespace espalier;
namespace po = boost::program_options;

/// A collective at one size: `whole_bytes` is the whole tensor's, as in NCCL's tests.
struct Row {
    std::string name;
    int64_t whole_bytes;
    double seconds;
    double ring_seconds;  ///< 0: no bound

    double bandwidth() const { return static_cast<double>(whole_bytes) / seconds; }
};

class Bench {
public:
    /// The communicator is attached to a GPU's context.
    Bench(Context& ctx, const comm::Communicator& world, int rounds)
        : ctx_(ctx), world_(world), rounds_(rounds) {}

    /// The best round, of each the slowest rank.
    double time(const std::function<void()>& call) const {
        double best = 1e30;
        for (int round = 0; round < rounds_ + 1; ++round) {
            world_.barrier();
            const auto begin = std::chrono::steady_clock::now();
            call();
            ctx_.wait();
            double seconds[] = {
                std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()};
            world_.all_reduce(seconds, comm::Reduction::max);
            if (round > 0) best = std::min(best, seconds[0]);
        }
        return best;
    }

    /// To the next rank and from the one before, all at once: what a step of a ring does.
    double exchange(int64_t bytes) {
        const int n = world_.size(), next = (world_.rank() + 1) % n, before = (world_.rank() + n - 1) % n;
        Tensor out = tensor(bytes), in = tensor(bytes);
        return time([&] {
            // In this order: the stand-in for NCCL waits where a receive is put.
            comm::Request send = world_.send(out, next, 0), receive = world_.receive(in, before, 0);
            receive.wait();
            send.wait();
        });
    }

    std::vector<Row> collectives(int64_t bytes, double latency, double bandwidth) {
        const int n = world_.size();
        const double part = static_cast<double>(bytes) * (n - 1) / n / bandwidth + (n - 1) * latency;
        const int64_t rows = bytes / 4;
        const Range mine = comm::my_rows(world_, rows);
        Tensor whole = tensor(bytes), piece = tensor(4 * mine.size()), equal = tensor(4 * (rows / n));
        std::vector<Row> out;
        const auto add = [&](const char* name, double ring, const std::function<void()>& call) {
            out.push_back({name, bytes, time(call), ring});
        };
        add("all_reduce", 2 * part, [&] { world_.all_reduce(ctx_, whole); });
        add("all_gather", part, [&] { world_.all_gather(ctx_, piece, rows); });
        add("reduce_scatter", part, [&] { world_.reduce_scatter(ctx_, whole); });
        add("gather_equal", part, [&] { world_.gather_equal(ctx_, equal); });

        std::vector<int64_t> offsets{0};
        for (int rank = 0; rank < n; ++rank) offsets.push_back(split_evenly(rows, n, rank).end);
        add("flat all_gather", part, [&] { world_.begin_all_gather(ctx_, whole, offsets).wait(); });
        add("flat reduce_scatter", part, [&] { world_.begin_reduce_scatter(ctx_, whole, offsets).wait(); });

        if (ctx_.on_gpu()) return out;
        const std::string text(static_cast<size_t>(bytes), 'x');
        add("broadcast", static_cast<double>(bytes) / bandwidth + (n - 1) * latency,
            [&] { world_.broadcast(text); });
        return out;
    }

    double barrier_seconds() const {
        return time([&] { world_.barrier(); });
    }
    double scalar_seconds() const {
        return time([&] {
            double value[] = {1.0};
            world_.all_reduce(value);
        });
    }

private:
    Tensor tensor(int64_t bytes) {
        Tensor out = ctx_.empty({bytes / 4}, DType::f32);
        fill(ctx_, 0.0f, out);
        return out;
    }

    Context& ctx_;
    comm::Communicator world_;
    int rounds_;
};

struct Options {
    int64_t max_bytes = int64_t{16} << 20;
    int rounds = 10;
    bool quick = false;
    std::string json, device = "cpu";
};

/// Of a GPU, one for each rank of a node.
Device chosen_device(const Options& o) {
    ESPALIER_REQUIRE(o.device == "cpu" || o.device == "cuda", "--device {}: choose cpu or cuda", o.device);
    if (o.device == "cpu") return Device::cpu;
    if constexpr (has_cuda) {
        const int place = comm::node_rank(), devices = device::count();
        ESPALIER_REQUIRE(devices == 1 || place < devices,
                         "--device cuda: {} devices for more ranks on this node", devices);
        device::select(place % devices);
        return Device::cuda;
    }
    fail("--device cuda: this build has no CUDA back end");
}

int run(const comm::Mpi& mpi, const Options& o) {
    const comm::Communicator world = comm::make_topology(1, 1).world;
    const int nodes_ranks = comm::node_ranks();
    if (mpi.size() < 2) {
        fmt::print("one rank: nothing to measure; start with mpirun -n N or srun\n");
        return 2;
    }
    Context ctx({.device = chosen_device(o), .threads = 1});
    constexpr std::array ring{comm::Lane{.tag = 0, .step = 1, .ring = true}};
    world.attach(ctx, ring);
    Bench bench(ctx, world, o.rounds);
    const int64_t largest = o.quick ? std::min<int64_t>(o.max_bytes, int64_t{4} << 20) : o.max_bytes;
    const double latency = bench.exchange(4);
    const double bandwidth = static_cast<double>(largest) / bench.exchange(largest);
    nlohmann::ordered_json out{{"ranks", mpi.size()},
                               {"node_ranks", nodes_ranks},
                               {"exchange_latency_seconds", latency},
                               {"exchange_bytes_per_second", bandwidth},
                               {"barrier_seconds", bench.barrier_seconds()},
                               {"scalar_all_reduce_seconds", bench.scalar_seconds()},
                               {"collectives", nlohmann::ordered_json::array()}};
    if (mpi.rank() == 0 && !o.quick) {
        fmt::print(
            "{} ranks, {} a node; neighbours: {:.1f} us, {:.3f} GB/s each way; barrier {:.1f} us, one number "
            "{:.1f} "
            "us\n\n"
            "{:<20}{:>12}{:>12}{:>12}{:>16}\n",
            mpi.size(), nodes_ranks, 1e6 * latency, bandwidth / 1e9,
            1e6 * out["barrier_seconds"].get<double>(), 1e6 * out["scalar_all_reduce_seconds"].get<double>(),
            "collective", "bytes", "us", "GB/s", "ring bound / t");
    }
    for (int64_t bytes = o.quick ? largest : 1024; bytes <= largest; bytes *= 8) {
        for (const Row& row : bench.collectives(bytes, latency, bandwidth)) {
            const double ratio = row.ring_seconds / row.seconds;
            out["collectives"].push_back({{"name", row.name},
                                          {"bytes", row.whole_bytes},
                                          {"seconds", row.seconds},
                                          {"bytes_per_second", row.bandwidth()},
                                          {"ring_bound_seconds", row.ring_seconds}});
            if (mpi.rank() == 0 && !o.quick)
                fmt::print("{:<20}{:>12}{:>12.1f}{:>12.3f}{:>16.2f}\n", row.name, row.whole_bytes,
                           1e6 * row.seconds, row.bandwidth() / 1e9, ratio);
            if (mpi.rank() == 0 && o.quick && row.name == "all_reduce")
                fmt::print(
                    "{:.1f} us, {:.3f} GB/s between neighbours; all-reduce of {} MB {:.3f} GB/s, {:.0f} % of "
                    "a "
                    "ring's bound\n",
                    1e6 * latency, bandwidth / 1e9, row.whole_bytes >> 20, row.bandwidth() / 1e9,
                    100 * ratio);
        }
    }
    if (mpi.rank() == 0 && !o.json.empty()) std::ofstream(o.json) << out.dump(1) << "\n";
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    Options o;
    po::options_description all("collectives_benchmark");
    all.add_options()("help", "this text")("max-bytes", po::value(&o.max_bytes)->default_value(o.max_bytes),
                                           "of the largest tensor")(
        "rounds", po::value(&o.rounds)->default_value(o.rounds), "of which the best counts")(
        "device", po::value(&o.device)->default_value(o.device),
        "cpu, or cuda for what GPUs do between them")("json", po::value(&o.json)->default_value(o.json),
                                                      "FILE for all figures")(
        "quick", po::bool_switch(&o.quick), "one line for a network, from 4 MB");
    return espalier::benchmarks::run_command("collectives_benchmark", all, argc, argv, [&](comm::Mpi& mpi) {
        ESPALIER_REQUIRE(o.max_bytes >= 1024 && o.rounds > 0,
                         "--max-bytes must be at least 1024, --rounds positive");
        return run(mpi, o);
    });
}
