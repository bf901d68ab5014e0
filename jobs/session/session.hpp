// What every job has while it runs: ranks, context, results.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "jobs/session/options.hpp"
#include "src/comm/topology.hpp"
#include "src/core/context.hpp"
#include "src/core/log.hpp"

namespace espalier::jobs {

class Session {
public:
    /// Collective. Refuses ranks that were started with different options, an unknown --device or --dtype, a
    /// layout that the ranks do not fill.
    Session(std::string job, const Options& options, const CommonOptions& common);

    Context& context() { return *context_; }
    const Context& context() const { return *context_; }
    const comm::Topology& topology() const { return topology_; }
    const comm::Communicator& world() const { return topology_.world; }
    const CommonOptions& common() const { return common_; }
    DType dtype() const { return dtype_; }
    bool root() const { return world().rank() == 0; }
    bool talks() const { return root() && !common_.quiet; }
    const Log& log() const { return log_; }
    const std::string& job() const { return job_; }
    const nlohmann::ordered_json& options() const { return resolved_; }
    double seconds() const;  ///< since the start
    /// Resident memory of this process before the job loaded anything, bytes.
    int64_t memory_at_start() const { return memory_at_start_; }

    /// Results for the summary, under the keys of docs/cli.md.
    nlohmann::ordered_json results;
    double model_flops = 0;  ///< of this run over all ranks

    /// Collective. Version, compute type, layout, build and machine.
    nlohmann::ordered_json facts() const;
    /// Collective. Writes the summary where asked for.
    void finish();

private:
    std::string job_;
    CommonOptions common_;
    nlohmann::ordered_json resolved_;
    Log log_;
    std::unique_ptr<Context> context_;
    // After the context, so that it goes first: freeing device memory waits for operations that only its end
    // breaks off.
    comm::Topology topology_;
    int64_t memory_at_start_ = 0;
    std::string device_name_;  // empty on a CPU
    DType dtype_ = DType::f32;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// Parses, answers --help and --dump-config (on rank 0), and runs `body` with a session otherwise. The common
/// frame of all jobs: `declare` adds the job's options.
int run_job(const std::string& job, const std::vector<std::string>& arguments,
            const std::function<void(Options&)>& declare,
            const std::function<int(Session&, const Options&)>& body, const Positional& positional = {});

/// Whether a file is what a job wrote for --summary.
bool is_summary(const std::string& path);

/// Peak resident memory of this process, bytes.
int64_t peak_memory();

}  // namespace espalier::jobs
