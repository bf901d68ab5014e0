// Time that a rank spends in what it does with others.
#pragma once

#include <chrono>

namespace espalier::comm {

/// Wall time of everything Timed with it; of nested spans the outermost counts.
class Stopwatch {
public:
    double seconds() const { return seconds_; }

private:
    friend class Timed;
    double seconds_ = 0;
    int depth_ = 0;
};

/// A span of time that counts; without a watch it does not.
class Timed {
public:
    explicit Timed(Stopwatch* watch) : watch_(watch) {
        if (watch_) ++watch_->depth_;
    }
    ~Timed() {
        if (watch_ && --watch_->depth_ == 0)
            watch_->seconds_ += std::chrono::duration<double>(Clock::now() - begin_).count();
    }
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;

private:
    using Clock = std::chrono::steady_clock;
    Stopwatch* watch_;
    Clock::time_point begin_ = Clock::now();
};

}  // namespace espalier::comm
