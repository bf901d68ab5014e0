// Where a thread's time goes, by who asked for it to be counted.
#pragma once

#include <chrono>

namespace espalier {

/// Wall time of everything Timed with it.
class Stopwatch {
public:
    double seconds() const { return seconds_; }

private:
    friend class Timed;
    double seconds_ = 0;
};

/// A span of time that counts on a watch; without a watch it is none. Each moment counts once, on the watch
/// of the innermost span that the thread is in: of a layer's time, what it waits for other ranks is theirs
/// alone.
class Timed {
public:
    explicit Timed(Stopwatch* watch) : watch_(watch) {
        if (!watch_) return;
        begin_ = Clock::now();
        if (outer_) outer_->count_until(begin_);
        innermost = this;
    }
    ~Timed() {
        if (!watch_) return;
        const auto end = Clock::now();
        count_until(end);
        if (outer_) outer_->begin_ = end;
        innermost = outer_;
    }
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;

private:
    using Clock = std::chrono::steady_clock;
    void count_until(Clock::time_point end) {
        watch_->seconds_ += std::chrono::duration<double>(end - begin_).count();
    }

    static inline thread_local Timed* innermost = nullptr;
    Stopwatch* watch_;
    Timed* outer_ = innermost;
    Clock::time_point begin_;  // or since when no inner span counts
};

}  // namespace espalier
