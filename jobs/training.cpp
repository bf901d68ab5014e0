// The training run: loads, resumes, steps, checkpoints, stops.
#include "jobs/training.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include "io/publish.hpp"
#include "jobs/breakdown.hpp"
#include "jobs/checkpoint.hpp"
#include "jobs/diverged_run.hpp"
#include "jobs/job.hpp"
#include "jobs/memory_report.hpp"
#include "jobs/run_folder.hpp"
#include "jobs/run_log.hpp"
#include "jobs/state_side.hpp"
#include "jobs/stop.hpp"
#include "jobs/teacher_side.hpp"
#include "jobs/training_data.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"
#include "src/distill/objective.hpp"
#include "src/train/gradient_reducer.hpp"
#include "src/train/pipeline.hpp"
#include "src/train/schedule.hpp"

namespace espalier::jobs {
namespace {

constexpr int64_t most_skips_in_a_row = 20;

class Run {
public:
    Run(Session& session, const TrainingOptions& o)
        : session_(session),
          ctx_(session.context()),
          topology_(session.topology()),
          o_(o),
          objective_(distill::parse_loss_terms(o.loss, o.temperature, o.top_k)) {
        check(o);
        check_divergence(o, objective_.terms());
        auto states = state_terms(o, objective_.terms());
        check_weights(o, objective_.terms(), states);
        check_run_folder(session, o.out, o.resume == "auto");
        lock_.emplace(session, o.out);
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
        student_ = load_transformer(session, *student_file_, model::Gradients::keep,
                                    session.common().virtual_stages);
        teacher_->load(objective_.terms(), states);
        if (!states.pairs.empty())
            states_ = std::make_unique<StateSide>(session, o, states, *student_file_, *student_, *teacher_);
        pipeline_ = std::make_unique<train::Pipeline>(
            topology_, *student_, teacher_->in_pipeline(),
            model::recompute_from_string(o.recompute, "--recompute"), states_ ? &states_->loss() : nullptr);
        optimizer_ =
            std::make_unique<train::Optimizer>(ctx_, *student_, optimizer_options(o), topology_.data);
        expect_finite(session, o.student, *student_, *optimizer_);
        reducer_.emplace(*student_, topology_, optimizer_->shards());
        std::vector<Trained> all{trained("", *student_, *optimizer_)};
        if (const auto corrected = teacher_->trained()) all.push_back(*corrected);
        if (const auto projection = states_ ? states_->trained() : std::nullopt) all.push_back(*projection);
        checkpoints_ = std::make_unique<Checkpoints>(
            session, o.out, student_->architecture(), std::move(all),
            configuration(session, *student_file_, teacher_->sha256(), masks_,
                          data_identity(session.world(), o.data, data::Split(o.split), data_->samples())),
            o.keep);
        ctx_.trim();  // of what reading took
        flops_per_token_ = 3 * model::forward_flops_per_token(student_->architecture(), o.seq_len) +
                           teacher_->forward_flops_per_token(o.seq_len) +
                           (states_ ? states_->flops_per_token() : 0.0);
    }

    int go() {
        int64_t step = start();
        const StopLimits limits{o_.exit_after_minutes, o_.exit_after_steps, o_.out + "/stop"};
        if (step < steps_ && asked_while_loading(limits)) {
            keep_folder();
            session_.results["steps"] = step;
            session_.log().info("stopped before step {} of {}; the same command goes on from there", step + 1,
                                steps_);
            return exit_code::work_left;
        }
        if (step == 0) tell_warm_up();
        reserve_models();
        MemoryReport memory(session_, predict_memory(session_, o_, *student_, *optimizer_, *teacher_,
                                                     states_.get(), *checkpoints_));
        RunLog log(session_, o_.out, step, skipped_, steps_, o_.log_every, o_.global_batch * o_.seq_len);
        breakdown_.emplace(ctx_, teacher_->grids());
        keep_folder();
        const int64_t first = step;
        int64_t saved = step;
        StepReport report;
        while (step < steps_) {
            ++step;
            const auto done = train_step(step, [&] { return stop_requests_.wanted(session_, limits, step); });
            report = done.report;
            const bool stop = done.stop && step < steps_;
            const bool validate = data_->has_held_out() &&
                                  (step == steps_ || (o_.valid_every > 0 && step % o_.valid_every == 0));
            if (validate) report.valid_loss = data_->held_out_loss(*student_);
            breakdown_->io([&] { log.step(report); });
            const bool due = o_.checkpoint_every > 0 && step % o_.checkpoint_every == 0 && step < steps_;
            breakdown_->io([&] {
                if (stop || due) {
                    log.flush();
                    checkpoints_->begin({step, skipped_, skipped_in_a_row_});
                    saved = step;
                } else if (done.checkpoint_written) {
                    checkpoints_->advance();
                }
            });
            if (stop) break;
        }
        pipeline_->finish(ctx_);
        breakdown_->io([&] {
            log.flush();
            checkpoints_->finish();
        });
        session_.world().barrier();
        summarise(report, step, static_cast<double>(step - first) * data_->tokens_of_a_step(),
                  breakdown_->seconds());
        memory.finish();
        return step < steps_ ? stopped(step, saved) : finished(report);
    }

private:
    int stopped(int64_t step, int64_t saved) const {
        session_.log().info(
            "stopped after step {} of {}, checkpoint {}/checkpoints/step-{}.h5; the same command goes on "
            "from there",
            step, steps_, o_.out, saved);
        return exit_code::work_left;
    }

    int finished(const StepReport& report) {
        if (skipped_ == steps_)
            throw DivergedRun(fmt::format(
                "{}: none of its {} steps had a finite gradient: nothing was learned that is worth a "
                "model.h5; begin anew with a lower --lr, or look at the model and the data",
                o_.out, steps_));
        if (!std::isfinite(report.loss))
            session_.log().warning(
                "{}: the loss of the last step is {}, which says nothing of model.h5; {} of {} steps were "
                "skipped, look at the model and the data",
                o_.out, report.loss, skipped_, steps_);
        write_model();
        return exit_code::done;
    }

    /// Makes the folder, goes on from a checkpoint where there is one; returns the steps done.
    int64_t start() {
        const bool over = session_.common().force || o_.resume == "never";
        open_run_folder(session_, o_.out, *lock_, over, fresh_);
        const auto state = over ? std::nullopt : checkpoints_->read();
        write_run_config(session_, o_.out);
        old_stop_->remove();
        if (!state) return 0;
        skipped_ = state->skipped;
        skipped_in_a_row_ = state->skipped_in_a_row;
        session_.log().info("going on after step {} of {}", state->step, steps_);
        return state->step;
    }

    double learning_rate(int64_t step) const { return train::learning_rate(schedule(o_, steps_), step); }

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
            o_.warmup_steps, steps_, learning_rate(steps_), steps_);
    }

    /// What failed until now has left nothing.
    void keep_folder() {
        if (fresh_) fresh_->keep();
    }

    bool asked_while_loading(const StopLimits& limits) const {
        return session_.world().all_reduce(stop_requests_.asked(session_, limits) ? 1 : 0,
                                           comm::Reduction::max) == 1;
    }

    /// The head's part of a micro-batch's backward pass.
    Tensor loss(const train::MicroBatch& batch, const Tensor& hidden, const Tensor& teacher_hidden,
                double token_weight) {
        const auto teacher = teacher_->of(ctx_, *student_, batch.first_sample, teacher_hidden);
        const bool balance = states_ && !states_->loss().terms().weight;
        const double before = balance ? objective_.sums(ctx_).divergence : 0.0;
        Tensor d_hidden = objective_.backward(ctx_, *student_, hidden, teacher, batch.labels, token_weight);
        if (balance)
            states_->loss().balance_with(objective_.terms().divergence_weight *
                                         (objective_.sums(ctx_).divergence - before));
        return d_hidden;
    }

    struct Update {
        double learning_rate, gradient_norm;
    };
    Update update(int64_t step, std::span<const train::MicroBatch> now) {
        objective_.reset();
        const double scored = data_->scored_tokens(now);
        if (states_) states_->begin_step(1.0 / scored);
        {
            const Timed timed = ctx_.computing();
            fill(ctx_, 0.0f, student_->gradients());
        }
        const auto read = [&](const comm::Topology& grid) {
            return breakdown_->io([&] { return data_->read(step, grid); });
        };
        teacher_->begin_step(ctx_, read, scored);
        pipeline_->step(
            ctx_, now, data_->ahead(),
            [&](const train::MicroBatch& batch, const Tensor& hidden, const Tensor& teacher_hidden) {
                return loss(batch, hidden, teacher_hidden, 1.0 / scored);
            },
            &*reducer_);
        reducer_->finish(ctx_);
        double norm = train::gradient_norm(ctx_, student_->gradients(), optimizer_->owned(), topology_);
        if (states_) norm = std::hypot(norm, std::sqrt(states_->synchronise_gradient()));
        const double teacher_norm = teacher_->gradient_norm(ctx_);
        breakdown_->io([&] { checkpoints_->detach(); });
        const double rate = learning_rate(step);
        if (std::isfinite(norm) && std::isfinite(teacher_norm)) {
            const double clip = train::clipping(norm, o_.clip_grad);
            const int64_t updates = step - skipped_;
            optimizer_->step(ctx_, updates, rate, clip);
            if (states_) states_->update(updates, rate, clip);
            teacher_->update(ctx_, updates, rate / o_.lr, teacher_norm);
            skipped_in_a_row_ = 0;
        } else {
            ++skipped_;
            ++skipped_in_a_row_;
            session_.log().warning("step {}: the {} gradient is not finite; the step is skipped", step,
                                   std::isfinite(norm) ? "teacher's" : "student's");
        }
        if (skipped_in_a_row_ == most_skips_in_a_row) {
            pipeline_->finish(ctx_);  // a search goes on: nothing may arrive in memory that is freed
            throw DivergedRun(fmt::format(
                "step {}: {} steps in a row had no finite gradient; lower --lr, or look at the data", step,
                most_skips_in_a_row));
        }
        return {rate, norm};
    }

    /// What all ranks learn from each other at the end of a step.
    struct Shared {
        distill::LossSums sums;
        double teacher_label, hidden_distance, hidden_loss;
        bool stop;                ///< one of them was asked to
        bool checkpoint_written;  ///< by all, and advance() is due
        std::optional<int64_t> memory_bytes;
    };
    Shared share(int64_t step, bool stop_wanted) {
        const bool speaks = topology_.last_stage() && topology_.tensor.rank() == 0;
        const auto& sums = objective_.sums(ctx_);
        const auto* corrected = teacher_->sums(ctx_);
        const auto hidden = speaks && states_ ? states_->loss().sums() : distill::StateSums{};
        std::array<double, 8> all{speaks ? sums.divergence : 0,
                                  speaks ? sums.label : 0,
                                  speaks ? sums.tokens : 0,
                                  speaks && corrected ? corrected->label : 0,
                                  hidden.distance,
                                  hidden.loss,
                                  stop_wanted ? 1.0 : 0.0,
                                  checkpoints_->written() ? 0.0 : 1.0};
        session_.world().all_reduce(all);
        std::optional<int64_t> memory;
        if (step % o_.log_every == 0 || step == steps_) {
            auto most = static_cast<double>(most_memory(ctx_));
            session_.world().all_reduce({&most, 1}, comm::Reduction::max);
            memory = static_cast<int64_t>(most);
        }
        return {{all[0], all[1], all[2]},
                all[3],
                all[4],
                all[5],
                all[6] > 0,
                checkpoints_->under_way() && all[7] == 0,
                memory};
    }

    StepReport report(int64_t step, const Update& update, const Shared& shared, double seconds) const {
        const double tokens = data_->tokens_of_a_step(), scored = std::max(1.0, shared.sums.tokens);
        StepReport r;
        r.step = step;
        r.steps = steps_;
        r.global_batch = o_.global_batch;
        r.consumed_samples = step * o_.global_batch;
        r.tokens = r.consumed_samples * o_.seq_len;
        r.loss = shared.sums.objective(objective_.terms()) + shared.hidden_loss / scored;
        r.lm_loss = shared.sums.label / scored;
        if (objective_.terms().divergence) r.kd_loss = shared.sums.divergence / scored;
        if (states_) {
            r.hidden_loss = shared.hidden_distance / scored;
            r.alpha = states_->loss().terms().weight.value_or(
                shared.hidden_distance > 0 ? shared.hidden_loss / shared.hidden_distance : 0.0);
        }
        if (teacher_->learns()) r.teacher_loss = shared.teacher_label / scored;
        r.learning_rate = update.learning_rate;
        r.grad_norm = update.gradient_norm;
        r.seconds = seconds;
        r.tokens_per_second = tokens / r.seconds;
        r.flops_per_second = flops_per_token_ * tokens / r.seconds;
        r.skipped = skipped_;
        r.memory_bytes = shared.memory_bytes;
        return r;
    }

    /// What a step has to tell, and what all ranks do after it.
    struct Done {
        StepReport report;
        bool stop, checkpoint_written;
    };
    template <class StopWanted>
    Done train_step(int64_t step, StopWanted stop_wanted) {
        const double begin = session_.seconds();
        const auto now = breakdown_->io([&] { return data_->take(step); });
        const auto made = update(step, now);
        const auto shared = share(step, stop_wanted());
        return {report(step, made, shared, session_.seconds() - begin), shared.stop,
                shared.checkpoint_written};
    }

    void summarise(const StepReport& last, int64_t step, double tokens, double seconds) {
        auto& out = session_.results;
        out["loss"] = last.loss;
        if (last.valid_loss) out["valid_loss"] = *last.valid_loss;
        out["steps"] = step;
        out["tokens"] = step * o_.global_batch * o_.seq_len;
        out["epochs"] = data_->samples().most_used(step * o_.global_batch).epochs;
        out["skipped_steps"] = skipped_;
        if (seconds > 0) out["tokens_per_second"] = tokens / seconds;
        if (seconds > 0) out["model_flops_per_second"] = tokens * flops_per_token_ / seconds;
        out["breakdown"] = breakdown_->mean_seconds();
        if (checkpoints_->times().count > 0) out["checkpoints"] = to_json(checkpoints_->times());
        session_.model_flops = tokens * flops_per_token_;
    }

    /// A run whose result finds no room at its end would be lost.
    void reserve_models() {
        if (!session_.root()) return;
        // A file like the one before, and what its writer takes in advance.
        const auto bytes = [](const ModelFile& file) {
            return narrow<int64_t>(std::filesystem::file_size(file.path())) + (int64_t{2} << 20);
        };
        reserved_.emplace_back(o_.out + "/model.h5", bytes(*student_file_));
        if (teacher_->learns()) reserved_.emplace_back(o_.out + "/teacher.h5", bytes(*teacher_->file()));
    }

    void write_model() {
        reserved_.clear();
        const std::string path = o_.out + "/model.h5";
        auto history = extend_history(*student_file_, session_);
        if (!teacher_->sha256().empty()) history["jobs"].back()["teacher_sha256"] = teacher_->sha256();
        check_finite(session_, path, *student_, *optimizer_);
        teacher_->write_model(o_.out + "/teacher.h5");
        write_trained(session_, path, *student_file_, *student_, *optimizer_, history);
        session_.log().result("{}", path);
    }

    const StopRequests stop_requests_;  // from before loading, which may take minutes
    Session& session_;
    Context& ctx_;
    const comm::Topology& topology_;
    const TrainingOptions& o_;
    distill::Objective objective_;
    std::optional<RunLock> lock_;  // until everything below is done
    std::optional<OldStop> old_stop_;
    std::optional<io::Temporary> fresh_;  // the folder that this start made, until it is a run's
    std::unique_ptr<ModelFile> student_file_;
    data::DocumentMasks masks_;
    std::unique_ptr<TrainingData> data_;
    std::unique_ptr<model::Transformer> student_;
    std::unique_ptr<TeacherSide> teacher_;
    std::unique_ptr<StateSide> states_;
    std::unique_ptr<train::Optimizer> optimizer_;
    std::optional<train::GradientReducer> reducer_;
    std::unique_ptr<train::Pipeline> pipeline_;
    std::unique_ptr<Checkpoints> checkpoints_;
    std::vector<io::ReservedSpace> reserved_;  // for what write_model() writes
    int64_t steps_ = 0, skipped_ = 0, skipped_in_a_row_ = 0;
    std::optional<Breakdown> breakdown_;  // from the first step of this start on
    double flops_per_token_ = 0;
};

}  // namespace

int run_training(Session& session, const TrainingOptions& o) {
    return Run(session, o).go();
}

}  // namespace espalier::jobs
