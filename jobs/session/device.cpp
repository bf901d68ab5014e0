#include "jobs/session/device.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "jobs/job.hpp"
#include "src/comm/mpi.hpp"
#include "src/comm/nccl.hpp"
#include "src/core/device.hpp"
#include "src/core/error.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::jobs {
namespace {

/// What a rank finds.
struct Found {
    int index = 0;
    std::string place, name;  // of the device: the same place for two ranks exactly when they share it
    std::string problem;      // empty: the device can be used
    std::string unshared;     // why it cannot be shared; empty: it can
};

[[maybe_unused]] std::string host_name() {
    char host[MPI_MAX_PROCESSOR_NAME] = "";
    int length = 0;
    CHECK_MPI(MPI_Get_processor_name(host, &length));
    return host;
}

/// Why ranks cannot share a device here; empty: they can.
[[maybe_unused]] std::string why_not_shared() {
    if constexpr (has_cuda) {
        const comm::NcclFacts nccl = comm::nccl_facts();
        if (!nccl.shares_devices) {
            return fmt::format(
                "--share-device: NCCL {} puts one rank on a device; install NCCL 2.30 or newer, or start one "
                "rank for each device",
                nccl.version);
        }
    }
    return "";
}

Found find([[maybe_unused]] bool share) {
    Found out;
    if constexpr (has_cuda) {
        const int place = comm::node_rank(), ranks = comm::node_ranks();  // collective: before what may throw
        try {
            const int devices = device::count();
            // A launcher that binds each task to its GPU shows it that one alone.
            ESPALIER_REQUIRE(share || devices == 1 || place < devices,
                             "--device cuda: {} ranks on this node, {} devices; start at most {} ranks a "
                             "node, or use --device cpu",
                             ranks, devices, devices);
            out.index = place % devices;
            const device::Facts facts = device::facts(out.index);
            out.place = fmt::format("{} of {}", facts.bus_id, host_name());
            out.name = facts.name;
            device::select(out.index);
            if (share) out.unshared = why_not_shared();
        } catch (const std::exception& e) {
            out.problem = e.what();
        }
    } else {
        out.problem = "this build has no CUDA back end";
    }
    return out;
}

/// Every rank's text, in their order; what is longer than a message loses its end.
std::vector<std::string> gather(const comm::Communicator& world, const std::string& text) {
    constexpr size_t longest = 512;
    std::vector<char> mine(longest), all(longest * static_cast<size_t>(world.size()));
    std::copy_n(text.begin(), std::min(text.size(), longest - 1), mine.begin());
    CHECK_MPI(MPI_Allgather(mine.data(), longest, MPI_CHAR, all.data(), longest, MPI_CHAR, world.handle()));
    std::vector<std::string> out;
    for (size_t r = 0; r < all.size(); r += longest) out.emplace_back(all.data() + r);
    return out;
}

/// What keeps the ranks from using what they found; empty: nothing. The same on every rank.
std::string problem_of_all(const Found& found, bool share, const comm::Communicator& world) {
    const auto problems = gather(world, found.problem), places = gather(world, found.place),
               names = gather(world, found.name), unshared = gather(world, found.unshared);
    for (const auto& problem : problems) {
        if (!problem.empty()) return problem;
    }
    for (size_t a = 0; a < names.size(); ++a) {
        if (names[a] != names[0]) {
            return fmt::format(
                "--device cuda: rank 0 has \"{}\", rank {} \"{}\"; ask the batch system for nodes of one "
                "kind, or "
                "choose devices of one kind with CUDA_VISIBLE_DEVICES",
                names[0], a, names[a]);
        }
        const auto first = std::find(places.begin(), places.end(), places[a]) - places.begin();
        if (first == static_cast<std::ptrdiff_t>(a)) continue;
        if (!share) {
            return fmt::format(
                "--device cuda: ranks {} and {} share the device {}; start one rank for each device, or "
                "say --share-device if that is meant",
                first, a, places[a]);
        }
        for (const auto& why : unshared) {
            if (!why.empty()) return why;
        }
    }
    return "";
}

bool computes(const std::string& job) {
    return find_job(job)->computes == Computes::yes;
}

}  // namespace

void check_device(const CommonOptions& common, const std::string& job) {
    ESPALIER_REQUIRE(common.device == "auto" || common.device == "cpu" || common.device == "cuda",
                     "--device {}: choose auto, cpu or cuda", common.device);
    if (common.device != "cuda") return;
    ESPALIER_REQUIRE(find_job(job)->computes != Computes::no,
                     "--device cuda: {} works on files and the CPU; leave --device out", job);
    ESPALIER_REQUIRE(
        has_cuda,
        "--device cuda: this build has no CUDA back end; use --device cpu, or build with ESPALIER_CUDA=ON");
}

ContextOptions place_rank(const CommonOptions& common, const std::string& job, int threads,
                          const comm::Communicator& world, const Log& log) {
    const ContextOptions on_cpu{Device::cpu, threads, 0};
    if (!has_cuda || common.device == "cpu" || !computes(job)) return on_cpu;
    // A kernel loaded at its first launch may wait for all streams, those too that wait for a message of
    // another stage. Loading all of them at once takes two seconds.
    if (common.pp > 1) setenv("CUDA_MODULE_LOADING", "EAGER", 1);
    // NCCL asks for its own word on this.
    if (common.share_device) setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 0);
    const Found found = find(common.share_device);
    const std::string problem = problem_of_all(found, common.share_device, world);
    if (problem.empty()) return {Device::cuda, threads, found.index};
    if (common.device == "cuda") fail("{}", problem);
    const int64_t here = found.name.empty() && !has_nvidia_driver() ? 0 : 1;
    if (world.all_reduce(here, comm::Reduction::max) == 1)
        log.warning("runs on the CPU, not on the GPUs that are here: {}", problem);
    return on_cpu;
}

bool has_nvidia_driver(const std::string& machine) {
    return std::filesystem::exists(machine + "/proc/driver/nvidia/version") ||
           std::filesystem::exists(machine + "/dev/nvidia0");
}

std::string why_no_gpu(const CommonOptions& common, const std::string& job, GpuSupport support) {
    if (support.back_end || !support.driver || common.device != "auto" || !computes(job)) return {};
    return "runs on the CPU: this build has no CUDA back end; build with ESPALIER_CUDA=ON for the GPUs that "
           "are "
           "here, or say --device cpu";
}

std::string device_name([[maybe_unused]] const ContextOptions& options) {
    if constexpr (has_cuda) {
        if (options.device == Device::cuda) return device::facts(options.device_index).name;
    }
    return {};
}

}  // namespace espalier::jobs
