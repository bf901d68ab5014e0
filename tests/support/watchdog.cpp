#include "tests/support/watchdog.hpp"

#include <execinfo.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "tests/support/process.hpp"

namespace espalier::test {
namespace {

// A signal nobody else uses: its handler runs on the hung thread, and so sees the hung thread's stack.
constexpr int stack_signal = SIGUSR2;

void print_stack(int) {
    std::array<void*, 64> frames;
    const int depth = backtrace(frames.data(), static_cast<int>(frames.size()));
    backtrace_symbols_fd(frames.data(), depth, STDERR_FILENO);
}

}  // namespace

std::chrono::seconds watchdog_limit() {
    const char* seconds = std::getenv("ESPALIER_TEST_TIMEOUT");
    const int limit = seconds ? std::atoi(seconds) : 0;
    return std::chrono::seconds(limit > 0 ? limit : 300);
}

Watchdog::Watchdog(int rank, std::chrono::seconds limit)
    : rank_(rank),
      limit_(limit),
      watched_(pthread_self()),
      deadline_(std::chrono::steady_clock::now() + limit) {
    // The first backtrace loads a library, which must not happen inside the handler.
    std::array<void*, 1> frame;
    backtrace(frame.data(), 1);
    std::signal(stack_signal, print_stack);
    thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
    {
        const std::lock_guard lock(mutex_);
        done_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Watchdog::restart(std::string what) {
    const std::lock_guard lock(mutex_);
    what_ = std::move(what);
    deadline_ = std::chrono::steady_clock::now() + limit_;
}

void Watchdog::watch() {
    std::unique_lock lock(mutex_);
    while (!done_) {
        if (std::chrono::steady_clock::now() >= deadline_) bark();
        changed_.wait_until(lock, deadline_);
    }
}

void Watchdog::bark() const {
    std::fprintf(stderr, "[ rank %d ] %s has not ended after %lld s (ESPALIER_TEST_TIMEOUT); it is at:\n",
                 rank_, what_.c_str(), static_cast<long long>(limit_.count()));
    pthread_kill(watched_, stack_signal);
    end_running_process();
    // Time for this stack, and for those of the other ranks, which wait for the same collective.
    std::this_thread::sleep_for(std::chrono::seconds(2));
    std::_Exit(1);
}

}  // namespace espalier::test
