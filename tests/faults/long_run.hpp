// A distillation long enough to be interrupted: 160 steps, a checkpoint after each.
#pragma once

#include "tests/jobs/program.hpp"

namespace espalier::test {

class LongRun {
public:
    /// In the folder `out` of `world`, which outlives this; `layout`: options that place it on two ranks.
    LongRun(const TinyWorld& world, std::string out, std::vector<std::string> layout);

    /// Starts it, or goes on with it, to its end.
    ProcessResult go() const;
    /// The same, with signals on the way: see signal_ranks.sh. Its standard output is what that says.
    ProcessResult go_signalled(const std::string& when, const std::string& signals,
                               const std::string& rank) const;

    std::string metrics() const;     ///< the path of metrics.jsonl
    bool finished() const;           ///< whether model.h5 is there
    bool writes_checkpoint() const;  ///< whether an unfinished one is there
    std::vector<double> losses() const;
    /// content_sha256 of model.h5, after its tensors were compared with their checksums.
    std::string model() const;

private:
    std::vector<std::string> command() const;

    const TinyWorld& world_;
    std::string out_;
    std::vector<std::string> layout_;
};

}  // namespace espalier::test
