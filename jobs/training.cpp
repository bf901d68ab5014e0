// The training run: loads, resumes, steps, checkpoints, stops.
#include "jobs/training.hpp"

#include <array>
#include <cmath>
#include <filesystem>

#include "io/publish.hpp"
#include "jobs/checkpoint.hpp"
#include "jobs/job.hpp"
#include "jobs/run_log.hpp"
#include "jobs/stop.hpp"
#include "jobs/tokens.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"
#include "src/evaluate/perplexity.hpp"
#include "src/train/gradient_sync.hpp"
#include "src/train/pipeline.hpp"
#include "src/train/schedule.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;

constexpr int most_skips_in_a_row = 20;

void check(const TrainingOptions& o) {
    const auto positive = [](auto value, const char* option) {
        ESPALIER_REQUIRE(value > 0, "{} {}: it must be positive", option, value);
    };
    positive(o.tokens, "--tokens");
    positive(o.seq_len, "--seq-len");
    positive(o.global_batch, "--global-batch");
    positive(o.micro_batch, "--micro-batch");
    positive(o.lr, "--lr");
    positive(o.log_every, "--log-every");
    positive(o.keep, "--keep");
    ESPALIER_REQUIRE(o.min_lr >= 0 && o.warmup_steps >= 0 && o.weight_decay >= 0 && o.clip_grad >= 0 &&
                         o.checkpoint_every >= 0 && o.valid_every >= 0 && o.exit_after_steps >= 0,
                     "--min-lr, --warmup-steps, --weight-decay, --clip-grad, --checkpoint-every, "
                     "--valid-every and --exit-after-steps cannot be negative");
    ESPALIER_REQUIRE(o.micro_batch <= o.global_batch, "--micro-batch {} exceeds --global-batch {}",
                     o.micro_batch, o.global_batch);
    ESPALIER_REQUIRE(o.beta1 >= 0 && o.beta1 < 1 && o.beta2 >= 0 && o.beta2 < 1 && o.eps > 0,
                     "--adam-beta1 and --adam-beta2 must be in [0, 1), --adam-eps positive");
    ESPALIER_REQUIRE(o.resume == "auto" || o.resume == "never", "--resume {}: choose auto or never",
                     o.resume);
}

/// Options that a resumed run must share with the one it goes on from: everything but layout, limits and
/// places.
nlohmann::ordered_json configuration(const Session& session, const ModelFile& student,
                                     const ModelFile* teacher) {
    nlohmann::ordered_json out = session.options();
    for (const char* key : {"tp",
                            "pp",
                            "virtual-stages",
                            "threads",
                            "device",
                            "dtype",
                            "quiet",
                            "force",
                            "summary",
                            "out",
                            "resume",
                            "micro-batch",
                            "checkpoint-every",
                            "keep",
                            "valid",
                            "valid-every",
                            "log-every",
                            "log-level",
                            "exit-after-minutes",
                            "exit-after-steps",
                            "model",
                            "student",
                            "teacher"}) {
        out.erase(key);
    }
    out["dtype"] = to_string(session.dtype());
    out["student_sha256"] = student.sha256();
    if (teacher) out["teacher_sha256"] = teacher->sha256();
    return out;
}

/// A folder with something of a run in it is an existing output unless this start goes on from it.
void prepare_folder(const Session& session, const TrainingOptions& o) {
    const bool force = session.common().force;
    const auto has = [&](const char* name) { return fs::exists(o.out + "/" + name); };
    ESPALIER_REQUIRE(!fs::exists(o.out) || fs::is_directory(o.out), "{}: exists and is no folder", o.out);
    ESPALIER_REQUIRE(
        force || !has("model.h5"),
        "{}: this run is finished (model.h5 is there); choose another --out, or --force to start over",
        o.out);
    ESPALIER_REQUIRE(force || o.resume == "auto" || !(has("checkpoints") || has("metrics.jsonl")),
                     "{}: holds a run already; --resume auto goes on with it, --force starts over", o.out);
    if (!fs::exists(o.out)) io::check_output(o.out, false);
}

class Run {
public:
    Run(Session& session, const TrainingOptions& o)
        : session_(session),
          ctx_(session.context()),
          topology_(session.topology()),
          o_(o),
          objective_(distill::parse_loss_terms(o.loss, o.temperature)) {
        check(o);
        prepare_folder(session, o);
        student_file_ = std::make_unique<ModelFile>(o.student, session.world().handle());
        if (!o.teacher.empty())
            teacher_file_ = std::make_unique<ModelFile>(o.teacher, session.world().handle());
        check_models();
        steps_ = div_ceil(o.tokens, o.global_batch * o.seq_len);
        const int64_t vocab = student_file_->architecture().vocab;
        samples_ = std::make_unique<data::Samples>(open_data(o.data, vocab), steps_ * o.global_batch,
                                                   o.seq_len, static_cast<uint32_t>(session.common().seed));
        if (!o.valid.empty()) {
            valid_ = std::make_unique<TokenStream>(o.valid, vocab);
            ESPALIER_REQUIRE(valid_->tokens() >= 2, "--valid {}: {} tokens; a loss needs at least 2", o.valid,
                             valid_->tokens());
        }
        student_ = load_transformer(session, *student_file_, model::Gradients::keep);
        if (teacher_file_) teacher_ = load_transformer(session, *teacher_file_, model::Gradients::none);
        optimizer_ = std::make_unique<train::Optimizer>(
            ctx_, *student_,
            train::OptimizerOptions{static_cast<float>(o.beta1), static_cast<float>(o.beta2),
                                    static_cast<float>(o.eps), static_cast<float>(o.weight_decay)});
        configuration_ = configuration(session, *student_file_, teacher_file_.get());
        const double forward = model::forward_flops_per_token(student_->architecture(), o.seq_len);
        flops_per_token_ =
            3 * forward +
            (teacher_ ? model::forward_flops_per_token(teacher_->architecture(), o.seq_len) : 0.0);
    }

    int go() {
        int64_t step = start();
        RunLog log(session_, o_.out, step, steps_, o_.log_every, o_.global_batch * o_.seq_len);
        const StopRequests stop_requests;
        const StopLimits limits{o_.exit_after_minutes, o_.exit_after_steps, o_.out + "/stop"};
        const double begin = session_.seconds();
        const int64_t first = step;
        int64_t saved = step;
        StepReport report;
        while (step < steps_) {
            ++step;
            bool stop = false;
            report = train_step(
                step, [&] { return stop_requests.wanted(session_, limits, step); }, stop);
            stop = stop && step < steps_;
            const bool validate =
                valid_ && (step == steps_ || (o_.valid_every > 0 && step % o_.valid_every == 0));
            if (validate) report.valid_loss = validation_loss();
            log.step(report);
            if (stop || (o_.checkpoint_every > 0 && step % o_.checkpoint_every == 0 && step < steps_)) {
                log.flush();
                write_checkpoint(session_, o_.out, step, *student_, *optimizer_, configuration_, o_.keep);
                saved = step;
            }
            if (stop) break;
        }
        log.flush();
        const double seconds = session_.seconds() - begin,
                     tokens = static_cast<double>((step - first) * o_.global_batch * o_.seq_len);
        summarise(report, step, tokens, seconds);
        if (step < steps_) {
            session_.log().info(
                "stopped after step {} of {}, checkpoint {}/checkpoints/step-{}.h5; the same command goes on "
                "from there",
                step, steps_, o_.out, saved);
            return exit_code::work_left;
        }
        write_model();
        return exit_code::done;
    }

private:
    void check_models() const {
        const auto& s = student_file_->architecture();
        ESPALIER_REQUIRE(o_.seq_len <= s.max_positions,
                         "--seq-len {}: {} has {} positions; choose --seq-len <= {}", o_.seq_len, o_.student,
                         s.max_positions, s.max_positions);
        if (!teacher_file_) {
            ESPALIER_REQUIRE(!objective_.terms().divergence,
                             "--loss {}: a divergence needs a teacher; use `espalier distill --teacher T.h5`",
                             o_.loss);
            return;
        }
        const auto& t = teacher_file_->architecture();
        ESPALIER_REQUIRE(t.vocab == s.vocab,
                         "teacher and student differ in vocabulary: {} has {} tokens, {} has {}; "
                         "distillation compares distributions over the same tokens",
                         o_.teacher, t.vocab, o_.student, s.vocab);
        ESPALIER_REQUIRE(o_.seq_len <= t.max_positions,
                         "--seq-len {}: {} has {} positions; choose --seq-len <= {}", o_.seq_len, o_.teacher,
                         t.max_positions, t.max_positions);
    }

    /// Makes the folder, goes on from a checkpoint where there is one; returns the steps done.
    int64_t start() {
        const bool over = session_.common().force || o_.resume == "never";
        if (session_.root()) {
            fs::create_directories(o_.out);
            for (const char* name : {"model.h5", "metrics.jsonl", "checkpoints", "latest"}) {
                if (over) fs::remove_all(o_.out + "/" + name);
            }
            fs::remove(o_.out + "/stop");  // of the stop that this start ends
            remove_unfinished_checkpoints(o_.out);
            std::string ini = "[" + session_.job() + "]\n";
            for (const auto& [key, value] : session_.options().items()) {
                for (const auto& v : value.is_array() ? value : nlohmann::ordered_json::array({value})) {
                    const std::string text = v.is_string() ? v.get<std::string>() : v.dump();
                    if (!text.empty()) ini += key + " = " + text + "\n";
                }
            }
            io::write_file(o_.out + "/config.ini", ini);
        }
        session_.world().barrier();
        if (over) return 0;
        const auto step = read_checkpoint(session_, o_.out, *student_, *optimizer_, configuration_);
        if (step) session_.log().info("going on after step {} of {}", *step, steps_);
        return step.value_or(0);
    }

    train::MicroBatch read_micro_batch(int64_t first, int64_t count) {
        const int64_t seq = o_.seq_len;
        std::vector<int32_t> ids, sample(static_cast<size_t>(seq + 1));
        Tensor labels = ctx_.empty({count * seq}, DType::i32);
        for (int64_t i = 0; i < count; ++i) {
            samples_->read(first + i, sample);
            ids.insert(ids.end(), sample.begin(), sample.end() - 1);
            std::copy(sample.begin() + 1, sample.end(), labels.data<int32_t>() + i * seq);
        }
        return {model::make_batch(ctx_, ids, count, seq), labels};
    }

    /// This replica's micro-batches of a step; micro-batches, not samples, are dealt out, so that they are
    /// the same on any dp.
    std::vector<train::MicroBatch> read_step(int64_t step) {
        const int64_t all = div_ceil(o_.global_batch, o_.micro_batch);
        const Range mine = split_evenly(all, topology_.layout.dp, topology_.data.rank());
        std::vector<train::MicroBatch> out;
        for (int64_t m = mine.begin; m < mine.end; ++m) {
            const int64_t first = m * o_.micro_batch,
                          count = std::min(o_.micro_batch, o_.global_batch - first);
            out.push_back(read_micro_batch((step - 1) * o_.global_batch + first, count));
        }
        return out;
    }

    template <class StopWanted>
    StepReport train_step(int64_t step, StopWanted stop_wanted, bool& stop) {
        const double begin = session_.seconds();
        const double tokens = static_cast<double>(o_.global_batch * o_.seq_len);
        objective_.reset();
        fill(ctx_, 0.0f, student_->gradients());
        const auto micro_batches = read_step(step);
        const auto loss = [&](const train::MicroBatch& batch, const Tensor& hidden,
                              const Tensor& teacher_hidden) {
            return objective_.backward(ctx_, *student_, hidden, teacher_.get(), teacher_hidden, batch.labels,
                                       1.0 / tokens);
        };
        const bool compare = objective_.terms().divergence.has_value();
        train::accumulate_gradients(ctx_, topology_, *student_, compare ? teacher_.get() : nullptr,
                                    micro_batches, loss);
        train::synchronise_gradients(ctx_, *student_, topology_);
        const double norm = train::gradient_norm(ctx_, *student_, topology_);
        const double rate = train::learning_rate({o_.lr, o_.min_lr, o_.warmup_steps, steps_}, step);
        if (std::isfinite(norm)) {
            const double scale = o_.clip_grad > 0 ? std::min(1.0, o_.clip_grad / (norm + 1e-6)) : 1.0;
            optimizer_->step(ctx_, step, rate, scale);
            skipped_in_a_row_ = 0;
        } else {
            ++skipped_;
            ++skipped_in_a_row_;
            if (session_.root())
                session_.log().warning("step {}: the gradient is not finite; the step is skipped", step);
        }
        ESPALIER_REQUIRE(skipped_in_a_row_ < most_skips_in_a_row,
                         "step {}: {} steps in a row had no finite gradient; lower --lr, or look at the data",
                         step, most_skips_in_a_row);

        const bool speaks = topology_.last_stage() && topology_.tensor.rank() == 0;
        const auto& sums = objective_.sums();
        std::array<double, 4> shared{speaks ? sums.divergence : 0, speaks ? sums.label : 0,
                                     speaks ? sums.tokens : 0, stop_wanted() ? 1.0 : 0.0};
        session_.world().all_reduce(shared);
        stop = shared[3] > 0;
        const distill::LossSums total{shared[0], shared[1], shared[2]};
        StepReport r;
        r.step = step;
        r.steps = steps_;
        r.global_batch = o_.global_batch;
        r.consumed_samples = step * o_.global_batch;
        r.tokens = static_cast<double>(step) * tokens;
        r.loss = total.objective(objective_.terms());
        r.lm_loss = total.label / total.tokens;
        if (compare) r.kd_loss = total.divergence / total.tokens;
        r.learning_rate = rate;
        r.grad_norm = norm;
        r.seconds = session_.seconds() - begin;
        r.tokens_per_second = tokens / r.seconds;
        r.flops_per_second = flops_per_token_ * tokens / r.seconds;
        r.skipped = skipped_;
        return r;
    }

    double validation_loss() {
        const auto windows = evaluate::windows(valid_->tokens(), o_.seq_len, o_.seq_len);
        const auto loss = evaluate::stream_loss(
            ctx_, *student_, topology_, windows, o_.micro_batch,
            [&](int64_t at, std::span<int32_t> out) { valid_->read(at, out); }, [](int64_t) {});
        return loss.mean();
    }

    void summarise(const StepReport& last, int64_t step, double tokens, double seconds) {
        auto& out = session_.results;
        out["loss"] = last.loss;
        if (last.valid_loss) out["valid_loss"] = *last.valid_loss;
        out["steps"] = step;
        out["tokens"] = step * o_.global_batch * o_.seq_len;
        out["skipped_steps"] = skipped_;
        if (seconds > 0) out["tokens_per_second"] = tokens / seconds;
        if (seconds > 0) out["model_flops_per_second"] = tokens * flops_per_token_ / seconds;
        session_.model_flops = tokens * flops_per_token_;
    }

    void write_model() {
        std::vector<DType> dtypes;
        for (const auto& p : model::parameters(student_->architecture()))
            dtypes.push_back(student_file_->stored_dtype(p));
        const std::string path = o_.out + "/model.h5";
        ModelWriter writer(path, session_.world().handle(), student_->architecture(), dtypes, true);
        writer.write_all(session_, student_->parameters(), optimizer_->master(),
                         [&](const model::Parameter& p) { return student_file_->stored_dtype(p); });
        writer.copy_tokenizer(*student_file_);
        auto history = extend_history(*student_file_, session_);
        if (teacher_file_) history["jobs"].back()["teacher_sha256"] = teacher_file_->sha256();
        writer.publish(history);
        session_.log().result("{}", path);
    }

    Session& session_;
    Context& ctx_;
    const comm::Topology& topology_;
    const TrainingOptions& o_;
    distill::Objective objective_;
    std::unique_ptr<ModelFile> student_file_, teacher_file_;
    std::unique_ptr<data::Samples> samples_;
    std::unique_ptr<TokenStream> valid_;
    std::unique_ptr<model::Transformer> student_, teacher_;
    std::unique_ptr<train::Optimizer> optimizer_;
    nlohmann::ordered_json configuration_;
    int64_t steps_ = 0, skipped_ = 0;
    int skipped_in_a_row_ = 0;
    double flops_per_token_ = 0;
};

}  // namespace

int run_training(Session& session, const TrainingOptions& o) {
    return Run(session, o).go();
}

}  // namespace espalier::jobs
