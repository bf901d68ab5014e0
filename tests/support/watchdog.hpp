// Ends a test program that hangs, with the place it hangs at, before a time limit from outside ends it mute.
#pragma once

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace espalier::test {

/// ESPALIER_TEST_TIMEOUT in seconds, else five minutes.
std::chrono::seconds watchdog_limit();

/// Watches the thread that makes it. When `limit` has passed since the last restart, prints the rank, what
/// ran and the watched thread's stack to stderr, and ends the process with code 1, which makes mpirun end the
/// other ranks.
class Watchdog {
public:
    Watchdog(int rank, std::chrono::seconds limit);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    void restart(std::string what);

private:
    void watch();
    [[noreturn]] void bark() const;

    int rank_;
    std::chrono::seconds limit_;
    pthread_t watched_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::string what_ = "before the first test";
    std::chrono::steady_clock::time_point deadline_;
    bool done_ = false;
    std::thread thread_;
};

}  // namespace espalier::test
