#include "jobs/training/run_log.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "io/publish.hpp"
#include "io/system_error.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

/// What a step may have beside its loss, in the order of metrics.jsonl and of the log line.
struct PartOfLoss {
    const char* key;      // in metrics.jsonl and TensorBoard's events
    const char* in_line;  // in the log line; null: not there
    std::optional<double> StepReport::*of;
};
constexpr std::array losses{PartOfLoss{"lm_loss", "lm loss", &StepReport::lm_loss},
                            PartOfLoss{"kd_loss", "kd loss", &StepReport::kd_loss},
                            PartOfLoss{"teacher_loss", "teacher loss", &StepReport::teacher_loss},
                            PartOfLoss{"hidden_loss", "hidden loss", &StepReport::hidden_loss},
                            PartOfLoss{"alpha", "alpha", &StepReport::alpha},
                            PartOfLoss{"valid_loss", nullptr, &StepReport::valid_loss}};

/// The whole lines of steps 1 .. last; what is none, as a line that a killed run left half, is dropped.
std::string lines_up_to(const std::string& path, int64_t last, const Log& log) {
    std::ifstream in(path);
    ESPALIER_REQUIRE(in || !std::filesystem::exists(path), "{}: cannot be read", path);
    std::string out;
    int64_t count = 0;
    for (std::string line; std::getline(in, line);) {
        const auto object = nlohmann::json::parse(line, nullptr, false);
        if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer() ||
            object["step"].get<int64_t>() > last)
            continue;
        out += line + "\n";
        ++count;
    }
    ESPALIER_REQUIRE(!in.bad(), "{}: cannot be read to its end", path);
    if (count < last)
        log.warning("{} has lines of {} of the {} steps so far: an earlier start could not write the others",
                    path, count, last);
    return out;
}

/// Whether the progress bar is drawn where lines would appear. Standard output alone does not tell: Open MPI
/// gives each rank a terminal for it, whatever mpirun's own is.
bool bar_takes_their_place() {
    return isatty(STDERR_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
}

}  // namespace

nlohmann::json metrics_of_step(const std::string& rundir, int64_t step) {
    nlohmann::json found;
    std::ifstream metrics(rundir + "/metrics.jsonl");
    for (std::string line; std::getline(metrics, line);) {
        auto object = nlohmann::json::parse(line, nullptr, false);
        if (object.is_object() && object.value("step", int64_t{0}) == step) found = std::move(object);
    }
    return found;
}

RunLog::RunLog(const Session& session, const std::string& rundir, const RunLogOptions& o)
    : log_(session.log()),
      skipped_before_(o.skipped),
      log_every_(o.log_every),
      tokens_each_(o.tokens_each),
      first_step_(o.resumed_step),
      ranks_(session.world().size()),
      lines_(session.talks() && !bar_takes_their_place()) {
    const auto facts = session.facts();
    if (!session.root()) return;
    io::write_file(rundir + "/facts.json", facts.dump(1) + "\n");
    const std::string path = rundir + "/metrics.jsonl";
    io::write_file(path, lines_up_to(path, o.resumed_step, log_));
    events_.emplace(rundir, o.resumed_step + 1);
    io::Descriptor metrics(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (!metrics) io::fail_of_system("cannot write " + path, errno);
    metrics_.emplace(path, std::move(metrics));
    progress_ = std::make_unique<Progress>(
        session, session.job(), static_cast<double>((o.steps - o.resumed_step) * o.tokens_each), "tokens");
}

RunLog::~RunLog() {
    if (in_trouble_) flush();
    if (in_trouble_)
        log_.warning(
            "{} lacks steps of this run, whose lines no disk took before its end; the model has them",
            metrics_->path());
}

void RunLog::tell_trouble(bool metrics_written, bool events_written) {
    const bool before = std::exchange(in_trouble_, !metrics_written || !events_written);
    if (!in_trouble_ || before) return;
    log_.warning("{} cannot be written: {}; training goes on, and what is missing is written once it can be",
                 metrics_written ? events_->path() : metrics_->path(),
                 metrics_written ? events_->problem() : metrics_->problem());
}

void RunLog::flush() {
    if (!metrics_) return;
    const bool metrics_written = metrics_->sync();
    tell_trouble(metrics_written, events_->flush());
}

bool RunLog::write_events(const StepReport& r) {
    std::vector<io::Scalar> scalars{{"loss", r.loss},
                                    {"lr", r.learning_rate},
                                    {"grad_norm", r.grad_norm},
                                    {"tokens_per_second", r.tokens_per_second},
                                    {"model_flops_per_second", r.flops_per_second}};
    for (const auto& loss : losses) {
        if (r.*loss.of) scalars.push_back({loss.key, *(r.*loss.of)});
    }
    scalars.push_back({"skipped_steps", static_cast<double>(r.skipped)});
    if (r.memory_bytes) scalars.push_back({"memory_bytes", static_cast<double>(*r.memory_bytes)});
    return events_->write(r.step, scalars);
}

void RunLog::step(const StepReport& r) {
    if (!metrics_) return;
    nlohmann::ordered_json line{{"step", r.step}, {"tokens", r.tokens}, {"loss", r.loss}};
    for (const auto& loss : losses) {
        if (r.*loss.of) line[loss.key] = *(r.*loss.of);
    }
    line["lr"] = r.learning_rate;
    line["grad_norm"] = r.grad_norm;
    line["seconds"] = r.seconds;
    line["tokens_per_second"] = r.tokens_per_second;
    line["model_flops_per_second"] = r.flops_per_second;
    line["skipped_steps"] = r.skipped;
    if (r.memory_bytes) line["memory_bytes"] = *r.memory_bytes;
    const bool written = metrics_->append(line.dump() + "\n");
    tell_trouble(written, write_events(r));
    count(r);
    if (lines_ && (r.step % log_every_ == 0 || r.step == r.steps)) {
        log_.info("{}", megatron_line(interval(r), ranks_));
        sums_ = {};
        lines_steps_ = 0;
    }
    progress_->show(static_cast<double>((r.step - first_step_) * tokens_each_),
                    fmt::format("step {}/{} loss {:.4f}", r.step, r.steps, r.loss));
}

void RunLog::count(const StepReport& r) {
    ++lines_steps_;
    sums_.seconds += r.seconds;
    sums_.flops_per_second += r.flops_per_second * r.seconds;
    const int64_t skipped = r.skipped - std::exchange(skipped_before_, r.skipped);
    sums_.skipped += skipped;
    if (skipped > 0) return;  // its losses need not be numbers
    for (const auto& loss : losses) {
        if (loss.in_line && r.*loss.of) sums_.*loss.of = (sums_.*loss.of).value_or(0) + *(r.*loss.of);
    }
}

StepReport RunLog::interval(const StepReport& last) const {
    StepReport out = last;
    const auto steps = static_cast<double>(lines_steps_),
               counted = static_cast<double>(lines_steps_ - sums_.skipped);
    out.seconds = sums_.seconds / steps;
    out.flops_per_second = sums_.flops_per_second / sums_.seconds;
    for (const auto& loss : losses) {
        out.*loss.of = sums_.*loss.of;
        if (out.*loss.of) *(out.*loss.of) /= counted;
    }
    out.skipped = sums_.skipped;
    return out;
}

std::string megatron_line(const StepReport& r, int ranks) {
    const auto now = std::chrono::system_clock::now();
    const auto micros =
        std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
    std::string out = fmt::format(
        " [{:%Y-%m-%d %H:%M:%S}.{:06}] iteration {:8}/{:8} | consumed samples: {:12} | elapsed time per "
        "iteration (ms): {:.1f} |",
        fmt::localtime(std::chrono::system_clock::to_time_t(now)), micros, r.step, r.steps,
        r.consumed_samples, 1000 * r.seconds);
    out += fmt::format(
        " throughput per GPU (TFLOP/s/GPU): {:.1f} | learning rate: {:.6E} | global batch size: {:5} |",
        r.flops_per_second / 1e12 / ranks, r.learning_rate, r.global_batch);
    for (const auto& loss : losses) {
        if (loss.in_line && r.*loss.of) out += fmt::format(" {}: {:.6E} |", loss.in_line, *(r.*loss.of));
    }
    out += fmt::format(
        " loss scale: 1.0 | grad norm: {:.3f} | number of skipped iterations: {:3} | number of nan "
        "iterations: {:3} |",
        r.grad_norm, r.skipped, r.skipped);
    return out;
}

}  // namespace espalier::jobs
