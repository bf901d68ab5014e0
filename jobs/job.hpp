// The subcommands of the one executable.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/publish.hpp"
#include "src/comm/mpi.hpp"
#include "src/comm/topology.hpp"

namespace espalier::jobs {

/// What the process ends with; batch scripts tell the cases apart by it.
namespace exit_code {
constexpr int done = 0;
constexpr int internal_error = 1;
constexpr int bad_input = 2;
constexpr int work_left = 3;  ///< stopped at a checkpoint; start again to go on
}  // namespace exit_code

/// Whether a job computes with a model, or as one does, so that --device cuda means something to it; the
/// others stream weights through the host. Or whether it leaves that to jobs that it calls.
enum class Computes { no, yes, by_other_jobs };

struct Job {
    const char* name;
    const char* summary;  ///< one line for --help
    /// Runs on every rank; arguments are those after the job's name. Returns an exit code, the same on every
    /// rank: bad_input only where it has said why. Throws UserError for bad input that it meets, perhaps on
    /// some ranks alone.
    int (*run)(const std::vector<std::string>& arguments, comm::Mpi& mpi);
    Computes computes = Computes::no;
    /// What its --out is, where it has one; nothing: what files' names begin with.
    std::optional<io::Output> out = io::Output::file;
    /// What the stages of its pipeline send each other; gradients only where it trains a model.
    comm::Traffic traffic = comm::Traffic::forward;

    bool trains() const { return traffic != comm::Traffic::forward; }
};

std::span<const Job> jobs();
/// nullptr for an unknown name.
const Job* find_job(std::string_view name);

#define ESPALIER_JOB(name) int name(const std::vector<std::string>& arguments, comm::Mpi& mpi)
ESPALIER_JOB(import_model);
ESPALIER_JOB(export_model);
ESPALIER_JOB(init);
ESPALIER_JOB(inspect);
ESPALIER_JOB(tokenize);
ESPALIER_JOB(importance);
ESPALIER_JOB(search);
ESPALIER_JOB(prune);
ESPALIER_JOB(distill);
ESPALIER_JOB(train);
ESPALIER_JOB(teacher_cache);
ESPALIER_JOB(report);
ESPALIER_JOB(evaluate);
ESPALIER_JOB(score);
ESPALIER_JOB(generate);
ESPALIER_JOB(plan);
ESPALIER_JOB(cost);
#undef ESPALIER_JOB

}  // namespace espalier::jobs
