// RUNDIR of train and distill: whose it is, and what a start finds and leaves in it.
#pragma once

#include <string>

#include "jobs/session.hpp"

namespace espalier::jobs {

/// Throws UserError where the folder holds a finished run, a run that this start does not go on with
/// (`resumes` says whether it would), or files that are no run's; --force takes any folder of a run.
void check_run_folder(const Session& session, const std::string& folder, bool resumes);

/// Collective. Makes the folder and writes config.ini; removes what an earlier start left unfinished, and
/// where this one starts `over`, all of its run.
void open_run_folder(const Session& session, const std::string& folder, bool over);

}  // namespace espalier::jobs
