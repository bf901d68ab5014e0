// How a signal ends the process.
#pragma once

#include <csignal>
#include <thread>

namespace espalier::jobs {

/// While it lives, a signal that ends the process (SIGINT, SIGTERM, SIGHUP, SIGUSR1) does so after what is
/// unfinished on the disk is gone (io::Temporary), and the process still ends by that signal; a second one
/// ends it at once. Signals that the process was started to ignore stay ignored; those that ask for a stop
/// (StopRequests) are noted. One at a time, made before there is any other thread.
///
/// One thread of its own waits for them, and no other is ever interrupted by one: products of a library may
/// keep values below the stack pointer, where a handler would write (oneDNN 2.6's sgemm for AVX2 and AVX-512
/// does; a signal in a step of training in f32 ended one run in two).
class OrderlyEnding {
public:
    OrderlyEnding();
    ~OrderlyEnding();
    OrderlyEnding(const OrderlyEnding&) = delete;
    OrderlyEnding& operator=(const OrderlyEnding&) = delete;

private:
    sigset_t before_;  // what this thread blocked
    std::thread taker_;
};

}  // namespace espalier::jobs
