// How a signal ends the process.
#pragma once

#include <thread>

namespace espalier::jobs {

/// While it lives, a signal that ends the process (SIGINT, SIGTERM, SIGHUP, SIGUSR1) does so after what is
/// unfinished on the disk is gone (io::Temporary), and the process still ends by that signal. Signals that
/// the process was started to ignore stay ignored. One at a time; StopRequests takes its signals meanwhile.
class OrderlyEnding {
public:
    OrderlyEnding();
    ~OrderlyEnding();
    OrderlyEnding(const OrderlyEnding&) = delete;
    OrderlyEnding& operator=(const OrderlyEnding&) = delete;

private:
    std::thread remover_;  // a signal handler may do next to nothing
};

}  // namespace espalier::jobs
