#include "jobs/session/progress.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace espalier::jobs {
namespace {

using Clock = std::chrono::steady_clock;

std::string duration(double seconds) {
    const auto s = static_cast<int64_t>(seconds);
    if (s >= 86400) return fmt::format("{}d {:02}:{:02}h", s / 86400, s / 3600 % 24, s / 60 % 60);
    if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    return fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

std::string with_prefix(double value) {
    for (const auto& [scale, prefix] : {std::pair{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}}) {
        if (value >= scale) return fmt::format("{:.3g} {}", value / (scale == 1e4 ? 1e3 : scale), prefix);
    }
    return fmt::format("{:.4g}", value);
}

Progress::Progress(const Session& session, std::string title, double total, std::string unit)
    : on_(session.talks()),
      terminal_(isatty(STDERR_FILENO) == 1),
      title_(std::move(title)),
      unit_(std::move(unit)),
      total_(total),
      start_(Clock::now()),
      shown_(start_) {}

Progress::~Progress() {
    if (on_ && done_ > 0) draw(done_, note_, true);
}

void Progress::show(double done, const std::string& note) {
    done_ = done;
    note_ = note;
    const auto now = Clock::now();
    const auto pause = terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(30000);
    if (!on_ || now - shown_ < pause) return;
    shown_ = now;
    draw(done, note, false);
}

void Progress::draw(double done, const std::string& note, bool last) {
    const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
    const double share = total_ > 0 ? std::min(1.0, done / total_) : 1.0,
                 rate = elapsed > 0 ? done / elapsed : 0;
    const std::string time =
        last ? duration(elapsed) : "ETA " + duration(share > 0 ? elapsed * (1 - share) / share : 0);
    std::string line = fmt::format("{} {:3.0f} % ", title_, 100 * share);
    if (terminal_) {
        constexpr int width = 24;
        const int filled = static_cast<int>(share * width);
        for (int i = 0; i < width; ++i) line += i < filled ? "\u2588" : "\u2591";
        line += ' ';
    }
    line += fmt::format("{} {} | {} {}/s | {}", with_prefix(done), unit_, with_prefix(rate), unit_, time);
    if (!note.empty()) line += " | " + note;
    line = (terminal_ ? "\r" : "") + line + (terminal_ ? (last ? "\033[K\n" : "\033[K") : "\n");
    // Whether anybody can read it is no matter of the job's.
    if (std::fwrite(line.data(), 1, line.size(), stderr) == line.size()) std::fflush(stderr);
}

}  // namespace espalier::jobs
