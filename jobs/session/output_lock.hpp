// Who is at work on an output: locks that end with their holder's process, however that ends.
#pragma once

#include <optional>
#include <string>

#include "io/descriptor.hpp"
#include "io/temporary.hpp"
#include "jobs/session/session.hpp"

namespace espalier::jobs {

/// Makes this process the only holder of the file `path`, which is made where it is not there. A killed
/// process lets go of its files after its memory, so that a holder is given a moment. Throws UserError where
/// another process stays; `trouble` begins the message.
io::Descriptor take_lock(const std::string& path, const std::string& trouble);
/// Writes into a file that is `held` for an output who holds it; warns where the file system has no locks.
void sign_lock(const Session& session, const io::Descriptor& held, const std::string& path,
               const std::string& output);

/// Keeps other jobs from writing an output while this one makes it: two that wrote the same partial file
/// would publish a mixture. Rank 0 holds a lock on PATH.partial.lock, which goes with this; one that a killed
/// job left is taken over, and its partial files with it.
class OutputLock {
public:
    /// Collective. Throws UserError where another job is writing `path`, or its folder does not exist or
    /// cannot be written to.
    OutputLock(const Session& session, std::string path);

private:
    std::optional<io::Descriptor> held_;
    std::optional<io::Temporary> file_;  // goes while it is held: another job may have the next one
};

}  // namespace espalier::jobs
