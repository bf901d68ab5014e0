#include "jobs/session/stop.hpp"

#include <atomic>
#include <csignal>
#include <filesystem>

namespace espalier::jobs {
namespace {

std::atomic<int> living = 0;  // StopRequests
std::atomic<bool> noted = false;

}  // namespace

bool note_stop(int signal) {
    if (signal != SIGTERM && signal != SIGUSR1) return false;
    if (living == 0 && !noted) return false;
    noted = true;
    return true;
}

bool stop_is_noted() {
    return noted;
}

StopRequests::StopRequests() {
    ++living;
}

StopRequests::~StopRequests() {
    --living;
}

bool StopRequests::asked(const Session& session, const StopLimits& limits) const {
    if (noted) return true;
    // One view of the file system is enough.
    return session.root() && !limits.file.empty() && std::filesystem::exists(limits.file);
}

bool StopRequests::wanted(const Session& session, const StopLimits& limits, int64_t step) const {
    if (asked(session, limits)) return true;
    if (limits.step > 0 && step == limits.step) return true;
    // One clock, too.
    return session.root() && limits.minutes > 0 && session.seconds() >= 60 * limits.minutes;
}

}  // namespace espalier::jobs
