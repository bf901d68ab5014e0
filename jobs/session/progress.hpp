// How far long work has come: a bar on a terminal, a line every so often in a log.
#pragma once

#include <chrono>
#include <string>

#include "jobs/session/session.hpp"

namespace espalier::jobs {

/// Draws on rank 0's standard error unless --quiet. `unit` is what is counted ("tokens", "tensors").
class Progress {
public:
    Progress(const Session& session, std::string title, double total, std::string unit);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// `note` follows the bar: a loss, a name.
    void show(double done, const std::string& note = "");

private:
    void draw(double done, const std::string& note, bool last);

    bool on_, terminal_;
    std::string title_, unit_, note_;
    double total_, done_ = 0;
    std::chrono::steady_clock::time_point start_, shown_;
};

/// 1234567 -> "1.23 M", 12 -> "12".
std::string with_prefix(double value);

}  // namespace espalier::jobs
