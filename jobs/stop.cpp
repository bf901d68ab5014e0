#include "jobs/stop.hpp"

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

bool StopRequests::signalled() const {
    return received != 0;
}

bool StopRequests::wanted(const Session& session, const StopLimits& limits, int64_t step) const {
    if (signalled()) return true;
    if (limits.step > 0 && step == limits.step) return true;
    if (!session.root()) return false;  // one clock and one view of the file system are enough
    if (limits.minutes > 0 && session.seconds() >= 60 * limits.minutes) return true;
    return !limits.file.empty() && std::filesystem::exists(limits.file);
}

}  // namespace espalier::jobs
