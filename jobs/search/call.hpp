// One job that runs others, in its own process and on its ranks.
#pragma once

#include "jobs/session/session.hpp"
#include "src/comm/mpi.hpp"

namespace espalier::jobs {

struct CallResult {
    int exit_code = 0;
    nlohmann::json summary;  ///< on all ranks; null where the exit code is bad_input
};

/// Collective. Runs job `name` as if started with `arguments`, in the layout, precision and seed of
/// `session`, silently. `summary_file` is written on the way and removed. What the other job throws goes
/// through.
CallResult call_job(Session& session, comm::Mpi& mpi, const std::string& name,
                    std::vector<std::string> arguments, const std::string& summary_file);

}  // namespace espalier::jobs
