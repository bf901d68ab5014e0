// Which checkpoints a run's folder holds, by the names of the files alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/session/session.hpp"

namespace espalier::jobs {

std::string checkpoints_folder(const std::string& rundir);

struct FoundCheckpoint {
    int64_t step;
    std::string path;
};
/// Newest first. Files beside them may be half written or damaged and have another ending.
std::vector<FoundCheckpoint> list_checkpoints(const std::string& rundir);
/// Collective. The same as rank 0 sees it.
std::vector<FoundCheckpoint> list_checkpoints(const Session& session, const std::string& rundir);

/// Collective. What RUNDIR/latest names; empty where there is none.
std::string latest_checkpoint(const Session& session, const std::string& rundir);
/// name: from the run's folder on.
void write_latest(const std::string& rundir, const std::string& name);

/// Removes what an earlier run left unfinished.
void remove_unfinished_checkpoints(const std::string& rundir);

}  // namespace espalier::jobs
