// Why a run ends before its last step, agreed upon by all ranks.
#pragma once

#include <string>

#include "jobs/session/session.hpp"

namespace espalier::jobs {

struct StopLimits {
    double minutes = 0;  ///< 0: none
    int64_t step = 0;    ///< the last one; 0: none. Who goes on from it is past it
    std::string file;    ///< its existence stops the run
};

/// While one lives, SIGTERM and SIGUSR1 ask for a stop instead of ending the process; once one has asked, no
/// further one ends it, up to its exit code. What is asked for holds for every run of the process.
class StopRequests {
public:
    StopRequests();
    ~StopRequests();
    StopRequests(const StopRequests&) = delete;
    StopRequests& operator=(const StopRequests&) = delete;

    /// Whether somebody has asked this rank to stop: a signal, or, of rank 0, the limits' file.
    bool asked(const Session& session, const StopLimits& limits) const;
    /// This rank's vote after a step; any rank's vote counts once it is reduced over all.
    bool wanted(const Session& session, const StopLimits& limits, int64_t step) const;
};

/// Notes what a signal asks for. False: this one asks for no stop. Of the thread that takes signals
/// (OrderlyEnding).
bool note_stop(int signal);
bool stop_is_noted();

}  // namespace espalier::jobs
