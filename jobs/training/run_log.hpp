// What a training run tells while it goes on: metrics.jsonl, TensorBoard's events, Megatron's log line, a
// progress bar.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "io/appended_file.hpp"
#include "io/event_file.hpp"
#include "jobs/session/progress.hpp"

namespace espalier::jobs {

struct StepReport {
    int64_t step = 0, steps = 0;
    int64_t consumed_samples = 0, global_batch = 0;
    int64_t tokens = 0;  ///< so far
    double loss = 0, learning_rate = 0, grad_norm = 0, seconds = 0, tokens_per_second = 0,
           flops_per_second = 0;
    std::optional<double> lm_loss, kd_loss, valid_loss, teacher_loss;
    std::optional<double> hidden_loss, alpha;  ///< of hidden states, and its weight in the loss
    int64_t skipped = 0;                       ///< steps so far whose gradient was not finite
    std::optional<int64_t> memory_bytes;       ///< the most that a rank held so far, with each log line
};

struct RunLogOptions {
    int64_t steps;         ///< of the whole run
    int64_t resumed_step;  ///< that it goes on after; 0: from the beginning
    int64_t skipped;       ///< steps until then
    int64_t log_every;
    int64_t tokens_each;  ///< of a step
};

/// Rank 0 tells; on other ranks nothing happens after the constructor.
class RunLog {
public:
    /// Collective. Keeps the lines of RUNDIR/metrics.jsonl up to resumed_step, `skipped` steps among them,
    /// and appends from there; begins an event file; writes facts.json, which says what this start runs on.
    RunLog(const Session& session, const std::string& rundir, const RunLogOptions& options);
    /// Tries once more to write what is missing.
    ~RunLog();

    /// A disk that takes no more for a while ends no run: there is a warning, and what is missing is written
    /// as soon as it can be.
    void step(const StepReport& report);
    /// Puts metrics.jsonl and the event file on the disk.
    void flush();

private:
    bool write_events(const StepReport& report);
    void tell_trouble(bool metrics_written, bool events_written);
    void count(const StepReport& report);
    /// Means over the steps since the last line, of losses over those that were not skipped, as Megatron-LM's
    /// are; without such a step it has no losses.
    StepReport interval(const StepReport& last) const;

    Log log_;
    std::optional<io::AppendedFile> metrics_;
    std::optional<io::EventFile> events_;
    bool in_trouble_ = false;
    std::unique_ptr<Progress> progress_;
    StepReport sums_;  // of what a line gives means of, since the last one
    int64_t lines_steps_ = 0, skipped_before_ = 0;
    int64_t log_every_, tokens_each_, first_step_;
    int ranks_;
    bool lines_;  // log lines: where standard output is not the terminal that shows the bar
};

/// The last line of RUNDIR/metrics.jsonl about this step; null without one.
nlohmann::json metrics_of_step(const std::string& rundir, int64_t step);

/// Megatron-LM's training_log, field by field, with `kd loss` and others after `lm loss`; throughput is a
/// rank's share. `r`: means over the steps of a line, and the steps skipped among them.
std::string megatron_line(const StepReport& r, int ranks);

}  // namespace espalier::jobs
