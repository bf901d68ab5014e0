// RUNDIR of train and distill: whose it is, who is at work in it, and what a start finds and leaves in it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "io/descriptor.hpp"
#include "io/temporary.hpp"
#include "jobs/session/session.hpp"

namespace espalier::jobs {

/// What a start does with the run that it finds in its folder.
enum class OldRun { goes_on, is_refused };

/// Keeps other starts out of RUNDIR while this one is at work in it: rank 0 holds a lock on RUNDIR/lock, a
/// file that says who that is. The file stays, the lock ends with its holder's process, however that ends.
class RunLock {
public:
    /// Throws UserError where the folder holds a finished run, a run that this start does not go on with, or
    /// files that are no run's; --force takes any folder of a run whose files are not read. Takes the lock of
    /// a run that is there already, since what comes before take() may last. Throws UserError, on rank 0,
    /// where another process has it.
    RunLock(const Session& session, const std::string& folder, OldRun old);
    /// Takes it where the constructor did not, and looks again: whoever had it may have ended the run. The
    /// folder is there.
    void take();

private:
    void check_folder() const;

    const Session& session_;
    const std::string folder_, path_;
    const OldRun old_;
    std::optional<io::Descriptor> held_;
};

/// A request to stop that an earlier start has followed, if there is one: to be looked for before loading,
/// which may last. What is asked for meanwhile is asked of this start.
class OldStop {
public:
    OldStop(const Session& session, const std::string& folder);
    void remove() const;

private:
    std::string path_;
    std::optional<std::filesystem::file_time_type> when_;
};

/// Whether a run goes on where an earlier start came to, or what that left is removed first.
enum class RunStart { goes_on, over };

/// Collective. Makes the folder and takes its lock; removes what an earlier start left unfinished.
/// `fresh` becomes the folder where it was not there, on rank 0.
void open_run_folder(const Session& session, const std::string& folder, RunLock& lock, RunStart start,
                     std::optional<io::Temporary>& fresh);

/// Writes config.ini, once this start is certain to go on: the options are those of what is there already.
void write_run_config(const Session& session, const std::string& folder);

}  // namespace espalier::jobs
