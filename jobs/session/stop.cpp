#include "jobs/session/stop.hpp"

#include <csignal>
#include <filesystem>

namespace espalier::jobs {
namespace {

// A signal handler can reach nothing but a global.
volatile std::sig_atomic_t received = 0;
int living = 0;                  // StopRequests; the outermost begins and ends the handling
void (*on_term)(int) = SIG_DFL;  // before that
void (*on_usr1)(int) = SIG_DFL;

extern "C" void note_signal(int) {
    received = 1;
}

}  // namespace

StopRequests::StopRequests() {
    if (living++ > 0) return;
    received = 0;
    on_term = std::signal(SIGTERM, note_signal);
    on_usr1 = std::signal(SIGUSR1, note_signal);
}

StopRequests::~StopRequests() {
    if (--living > 0) return;
    std::signal(SIGTERM, on_term);
    std::signal(SIGUSR1, on_usr1);
}

bool StopRequests::asked(const Session& session, const StopLimits& limits) const {
    if (received != 0) return true;
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
