#include "jobs/session/ending.hpp"

#include <unistd.h>

#include <array>

#include "io/temporary.hpp"
#include "jobs/session/stop.hpp"

namespace espalier::jobs {
namespace {

constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP, SIGUSR1};

/// Sent to the thread that waits, which then ends.
int end_of_waiting() {
    return SIGRTMIN;
}

bool is_ignored(int signal) {
    struct sigaction action {};
    return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

sigset_t awaited_signals() {
    sigset_t out;
    sigemptyset(&out);
    sigaddset(&out, end_of_waiting());
    for (const int signal : ending_signals) {
        if (!is_ignored(signal)) sigaddset(&out, signal);
    }
    return out;
}

[[noreturn]] void end_by(int signal, const sigset_t& awaited) {
    pthread_sigmask(SIG_UNBLOCK, &awaited, nullptr);  // a second one does not wait for a slow disk
    io::remove_temporaries();
    std::raise(signal);
    _exit(128 + signal);  // the first process of a container is not ended by its own signals
}

void take_signals(sigset_t awaited) {
    while (true) {
        int signal = 0;
        if (sigwait(&awaited, &signal) != 0) continue;
        if (signal == end_of_waiting()) return;
        if (!note_stop(signal)) end_by(signal, awaited);
    }
}

}  // namespace

OrderlyEnding::OrderlyEnding() {
    const sigset_t awaited = awaited_signals();
    pthread_sigmask(SIG_BLOCK, &awaited, &before_);  // which every thread that is made from now on inherits
    taker_ = std::thread(take_signals, awaited);
}

OrderlyEnding::~OrderlyEnding() {
    pthread_kill(taker_.native_handle(), end_of_waiting());
    taker_.join();
    // A process that ends because it was asked to does so with its exit code, however often it is asked.
    if (!stop_is_noted()) pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace espalier::jobs
