// Which device a job runs on, and which of a node's devices is this rank's.
#pragma once

#include <string>

#include "jobs/session/options.hpp"
#include "src/comm/topology.hpp"
#include "src/core/log.hpp"

namespace espalier::jobs {

/// Throws UserError for a --device that is unknown, not in this build, or nothing for this job.
void check_device(const CommonOptions& common, const std::string& job);

/// Collective. The device of this rank, by its place on the node: for cuda a GPU of its own, of the same kind
/// on all ranks, else throws UserError; what is wrong on one rank is thrown on all. auto takes GPUs where
/// that would succeed and the job computes, else the CPUs; it tells when there are GPUs that it leaves
/// alone.
ContextOptions place_rank(const CommonOptions& common, const std::string& job, int threads,
                          const comm::Communicator& world, const Log& log);

/// Whether NVIDIA's driver is there, on the machine whose root folder this is.
bool has_nvidia_driver(const std::string& machine = "");

/// What a GPU takes to be used.
struct GpuSupport {
    bool back_end;  ///< built into the program
    bool driver;    ///< on this machine
};
/// What there is to warn of before a job computes on the CPU: a driver that a program without the back end
/// leaves alone, where nobody asked for the CPU. Empty: nothing.
std::string why_no_gpu(const CommonOptions& common, const std::string& job, GpuSupport support);

/// "NVIDIA H100 80GB HBM3"; empty on a CPU.
std::string device_name(const ContextOptions& options);

}  // namespace espalier::jobs
