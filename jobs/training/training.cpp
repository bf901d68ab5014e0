// The training run: loads, resumes, steps, checkpoints, stops.
#include "jobs/training/training.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "io/publish.hpp"
#include "jobs/job.hpp"
#include "jobs/session/breakdown.hpp"
#include "jobs/session/stop.hpp"
#include "jobs/training/checkpoint.hpp"
#include "jobs/training/memory_report.hpp"
#include "jobs/training/run_folder.hpp"
#include "jobs/training/run_log.hpp"
#include "jobs/training/step.hpp"
#include "jobs/training/teacher_side.hpp"
#include "jobs/training/trained_model.hpp"
#include "src/core/error.hpp"
#include "src/train/schedule.hpp"

namespace espalier::jobs {
namespace {

class Run {
public:
    Run(Session& session, const TrainingOptions& o) : session_(session), ctx_(session.context()), o_(o) {
        check(o);
        const auto loss = distill::parse_loss_terms(o.loss, o.temperature, o.top_k);
        check_divergence(o, loss);
        auto states = state_terms(o, loss);
        check_weights(o, loss, states);
        lock_.emplace(session, o.out, o.resume == "auto" ? OldRun::goes_on : OldRun::is_refused);
        old_stop_.emplace(session, o.out);
        student_file_ = std::make_unique<ModelFile>(o.student, session.world().handle());
        check_seq_len(o.seq_len, *student_file_);
        masks_ = document_masks(session, o.documents, *student_file_);
        steps_ = div_ceil(o.tokens, o.global_batch * o.seq_len);
        teacher_ = std::make_unique<TeacherSide>(session, o, *student_file_, steps_ * o.global_batch, masks_);
        if (!states.pairs.empty())
            states = distill::resolved(std::move(states), teacher_->file()->architecture(), o.teacher,
                                       student_file_->architecture(), o.student);
        data_ =
            std::make_unique<TrainingData>(session, o, masks_, student_file_->architecture().vocab, steps_);
        tell_epochs(session.log(), data_->samples());
        tell_validation();
        teacher_->check_samples(data_->samples());
        step_ = std::make_unique<TrainingStep>(session, o, loss, *teacher_, *data_, steps_);
        step_->load(*student_file_, states);
        checkpoints_ = std::make_unique<Checkpoints>(
            session, o.out, student_file_->architecture(), step_->trained(),
            configuration(session, *student_file_, teacher_->sha256(), masks_,
                          data_identity(session.world(), o.data, data::Split(o.split), data_->samples())),
            o.keep);
    }

    int go() {
        const int64_t first = start();
        const StopLimits limits{o_.exit_after_minutes, o_.exit_after_steps, o_.out + "/stop"};
        if (first < steps_ && asked_while_loading(limits)) return stopped_before(first);
        if (first == 0) tell_warm_up();
        reserve_models();
        MemoryReport memory(session_, predict_memory(session_, o_, step_->student(), step_->optimizer(),
                                                     *teacher_, step_->states(), *checkpoints_));
        RunLog log(session_, o_.out,
                   {.steps = steps_,
                    .resumed_step = first,
                    .skipped = step_->skipped.all,
                    .log_every = o_.log_every,
                    .tokens_each = o_.global_batch * o_.seq_len});
        breakdown_.emplace(ctx_, teacher_->grids());
        keep_folder();
        const Reached reached = steps(first, limits, log);
        step_->finish();
        breakdown_->io([&] {
            log.flush();
            checkpoints_->finish();
        });
        session_.world().barrier();
        if (reached.hopeless)
            return diverged(fmt::format(
                "step {}: {} steps in a row had no finite gradient; lower --lr, or look at the data",
                reached.step, step_->skipped.in_a_row));
        summarise(reached, first);
        memory.finish();
        return reached.step < steps_ ? stopped(reached) : finished(reached.report);
    }

private:
    struct Reached {
        int64_t step, saved;  ///< done, and of these the last with a checkpoint
        StepReport report;    ///< of the last that was told
        bool hopeless = false;
    };

    /// From the one after `first` on, to the last or to a stop.
    Reached steps(int64_t first, const StopLimits& limits, RunLog& log) {
        Reached at{first, first, {}};
        bool stop = false;
        while (at.step < steps_ && !stop) {
            ++at.step;
            const auto done = step_->run(at.step, *checkpoints_, *breakdown_,
                                         [&] { return stop_requests_.wanted(session_, limits, at.step); });
            at.hopeless = done.diverged;
            if (at.hopeless) break;
            at.report = done.report;
            if (is_measured(at.step)) at.report.valid_loss = held_out_loss();
            breakdown_->io([&] { log.step(at.report); });
            stop = done.stop && at.step < steps_;
            // The last step, too: what cannot be written as model.h5 is not lost.
            const bool due =
                o_.checkpoint_every > 0 && (at.step % o_.checkpoint_every == 0 || at.step == steps_);
            breakdown_->io([&] {
                if (stop || due) {
                    log.flush();
                    checkpoints_->begin({at.step, step_->skipped.all, step_->skipped.in_a_row});
                    at.saved = at.step;
                } else if (done.checkpoint_written) {
                    checkpoints_->advance();
                }
            });
        }
        return at;
    }

    bool is_measured(int64_t step) const {
        return data_->has_held_out() &&
               (step == steps_ || (o_.valid_every > 0 && step % o_.valid_every == 0));
    }

    double held_out_loss() {
        ctx_.trim();  // here: in a pass it waits for messages that another stage may be late to take
        const double loss = data_->held_out_loss(step_->student());
        ctx_.trim();
        return loss;
    }

    int stopped_before(int64_t step) {
        keep_folder();
        session_.results["steps"] = step;
        session_.log().info("stopped before step {} of {}; the same command goes on from there", step + 1,
                            steps_);
        return exit_code::work_left;
    }

    int stopped(const Reached& reached) const {
        session_.log().info(
            "stopped after step {} of {}, checkpoint {}/checkpoints/step-{}.h5; the same command goes on "
            "from there",
            reached.step, steps_, o_.out, reached.saved);
        return exit_code::work_left;
    }

    int finished(const StepReport& report) {
        if (step_->skipped.all == steps_)
            return diverged(fmt::format(
                "{}: none of its {} steps had a finite gradient: nothing was learned that is worth a "
                "model.h5; begin anew with a lower --lr, or look at the model and the data",
                o_.out, steps_));
        if (report.step > 0 && !std::isfinite(report.loss))
            session_.log().warning(
                "{}: the loss of the last step is {}, which says nothing of model.h5; {} of {} steps were "
                "skipped, look at the model and the data",
                o_.out, report.loss, step_->skipped.all, steps_);
        const bool finite = are_finite(session_, step_->student(), step_->optimizer());
        if (!finite || !teacher_->is_finite())
            return diverged(fmt::format(
                "{}: not written, the last update left weights that are not finite; begin anew (--force, or "
                "another --out) with a lower {}, or look at the data",
                finite ? teacher_path() : model_path(), finite ? "--teacher-lr" : "--lr"));
        write_model();
        return exit_code::done;
    }

    /// Ends a run that no model comes of. All ranks know it, and none throws: a search goes on after it.
    int diverged(const std::string& why) const {
        session_.log().error("{}", why);
        return exit_code::bad_input;
    }

    std::string model_path() const { return o_.out + "/model.h5"; }
    std::string teacher_path() const { return o_.out + "/teacher.h5"; }

    /// Makes the folder, goes on from a checkpoint where there is one; returns the steps done.
    int64_t start() {
        const auto start =
            session_.common().force || o_.resume == "never" ? RunStart::over : RunStart::goes_on;
        open_run_folder(session_, o_.out, *lock_, start, fresh_);
        const auto state = start == RunStart::over ? std::nullopt : checkpoints_->read();
        write_run_config(session_, o_.out);
        old_stop_->remove();
        if (!state) return 0;
        step_->skipped = {state->skipped, state->skipped_in_a_row};
        session_.log().info("going on after step {} of {}", state->step, steps_);
        return state->step;
    }

    /// No error: data that is to come may be split.
    void tell_validation() const {
        if (o_.valid_every == 0 || data_->has_held_out()) return;
        session_.log().warning(
            "--valid-every {}: nothing is held out to measure on; give --valid PREFIX, or a --split whose "
            "second part is not 0",
            o_.valid_every);
    }

    /// No error: a pipeline's stages take each other's warm-up, and one of them may be short.
    void tell_warm_up() const {
        if (o_.warmup_steps < steps_) return;
        session_.log().warning(
            "--warmup-steps {}: the run has {} steps, in which the learning rate only rises, to {:.3g} at "
            "the last; choose --warmup-steps < {}, so that it falls to --min-lr",
            o_.warmup_steps, steps_, train::learning_rate(schedule(o_, steps_), steps_), steps_);
    }

    /// Until here a failed start removes the folder that it made; from now on it stays.
    void keep_folder() {
        if (fresh_) fresh_->keep();
    }

    bool asked_while_loading(const StopLimits& limits) const {
        return session_.world().any(stop_requests_.asked(session_, limits));
    }

    /// Of this start, which went on after step `first`.
    void summarise(const Reached& reached, int64_t first) {
        const int64_t step = reached.step;
        const StepReport& last = reached.report;
        const double tokens = static_cast<double>(step - first) * data_->tokens_of_a_step(),
                     seconds = breakdown_->seconds();
        auto& out = session_.results;
        if (last.step > 0) {
            out["loss"] = last.loss;
            if (last.valid_loss) out["valid_loss"] = *last.valid_loss;
        } else if (session_.root()) {  // a start that only had to write the model
            const auto noted = metrics_of_step(o_.out, step);
            for (const char* loss : {"loss", "valid_loss"}) {
                if (noted.contains(loss)) out[loss] = noted[loss];
            }
        }
        out["steps"] = step;
        out["tokens"] = step * o_.global_batch * o_.seq_len;
        out["epochs"] = data_->samples().most_used(step * o_.global_batch).epochs;
        out["skipped_steps"] = step_->skipped.all;
        if (seconds > 0) out["tokens_per_second"] = tokens / seconds;
        if (seconds > 0) out["model_flops_per_second"] = tokens * step_->flops_per_token() / seconds;
        out["breakdown"] = breakdown_->mean_seconds();
        if (checkpoints_->times().count > 0) out["checkpoints"] = to_json(checkpoints_->times());
        session_.model_flops = tokens * step_->flops_per_token();
    }

    /// A run whose result finds no room at its end would be lost.
    void reserve_models() {
        if (!session_.root()) return;
        // A file like the one before, and what its writer takes in advance.
        const auto bytes = [](const ModelFile& file) {
            return narrow<int64_t>(std::filesystem::file_size(file.path())) + (int64_t{2} << 20);
        };
        reserved_.emplace_back(model_path(), bytes(*student_file_));
        if (teacher_->learns()) reserved_.emplace_back(teacher_path(), bytes(*teacher_->file()));
        if (o_.checkpoint_every == 0) return;
        std::error_code unknown;
        const auto free = std::filesystem::space(o_.out, unknown).available;
        const auto needed = static_cast<uintmax_t>(checkpoints_->bytes());
        if (!unknown && free < needed)
            session_.log().warning(
                "a checkpoint takes {} bytes and {} are free where {} is: the run ends at the first that "
                "does not "
                "fit; free some, or write elsewhere",
                needed, free, o_.out);
    }

    void write_model() {
        reserved_.clear();
        auto history = extend_history(*student_file_, session_);
        if (!teacher_->sha256().empty()) history["jobs"].back()["teacher_sha256"] = teacher_->sha256();
        teacher_->write_model(teacher_path());
        write_trained(session_, model_path(), *student_file_, step_->student(), step_->optimizer(), history);
        session_.log().result("{}", model_path());
    }

    const StopRequests stop_requests_;  // from before loading, which may take minutes
    Session& session_;
    Context& ctx_;
    const TrainingOptions& o_;
    std::optional<RunLock> lock_;  // until everything below is done
    std::optional<OldStop> old_stop_;
    std::optional<io::Temporary> fresh_;  // the folder that this start made, until it is a run's
    std::unique_ptr<ModelFile> student_file_;
    data::DocumentMasks masks_;
    std::unique_ptr<TrainingData> data_;
    std::unique_ptr<TeacherSide> teacher_;
    std::unique_ptr<TrainingStep> step_;
    std::unique_ptr<Checkpoints> checkpoints_;
    std::vector<io::ReservedSpace> reserved_;  // for what write_model() writes
    int64_t steps_ = 0;
    std::optional<Breakdown> breakdown_;  // from the first step of this start on
};

}  // namespace

int run_training(Session& session, const TrainingOptions& o) {
    return Run(session, o).go();
}

}  // namespace espalier::jobs
