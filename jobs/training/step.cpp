#include "jobs/training/step.hpp"

#include <array>
#include <cmath>

#include "jobs/training/memory_report.hpp"
#include "jobs/training/trained_model.hpp"
#include "kernels/elementwise.hpp"
#include "src/train/schedule.hpp"

namespace espalier::jobs {
namespace {

constexpr int64_t most_skips_in_a_row = 20;

}  // namespace

TrainingStep::TrainingStep(Session& session, const TrainingOptions& o, const distill::LossTerms& loss,
                           TeacherSide& teacher, TrainingData& data, int64_t steps)
    : session_(session),
      ctx_(session.context()),
      topology_(session.topology()),
      o_(o),
      teacher_(teacher),
      data_(data),
      steps_(steps),
      objective_(loss) {}

void TrainingStep::load(ModelFile& student, const distill::StateTerms& states) {
    student_ = load_transformer(session_, student, model::Gradients::keep, session_.common().virtual_stages);
    teacher_.load(loss(), states);
    if (!states.pairs.empty())
        states_ = std::make_unique<StateSide>(session_, o_, states, student, *student_, teacher_);
    pipeline_ = std::make_unique<train::Pipeline>(topology_, *student_, teacher_.in_pipeline(),
                                                  model::recompute_from_string(o_.recompute, "--recompute"),
                                                  states_ ? &states_->loss() : nullptr);
    optimizer_ = std::make_unique<train::Optimizer>(ctx_, *student_, optimizer_options(o_), topology_.data);
    read_master(session_, student, *student_, *optimizer_);
    expect_finite(session_, o_.student, *student_, *optimizer_);
    reducer_ = std::make_unique<train::GradientReducer>(*student_, topology_, optimizer_->shards());
    ctx_.trim();  // of what reading took
}

std::vector<Trained> TrainingStep::trained() {
    std::vector<Trained> all{jobs::trained("", *student_, *optimizer_)};
    if (const auto corrected = teacher_.trained()) all.push_back(*corrected);
    if (const auto projection = states_ ? states_->trained() : std::nullopt) all.push_back(*projection);
    return all;
}

double TrainingStep::flops_per_token() const {
    return 3 * model::forward_flops_per_token(student_->architecture(), o_.seq_len) +
           teacher_.forward_flops_per_token(o_.seq_len) + (states_ ? states_->flops_per_token() : 0.0);
}

TrainingStep::Done TrainingStep::run(int64_t step, Checkpoints& checkpoints, Breakdown& breakdown,
                                     const std::function<bool()>& stop_wanted) {
    const double begin = session_.seconds();
    const auto now = breakdown.io([&] { return data_.take(step); });
    passes(step, now, breakdown);
    const Update made = update(step, checkpoints, breakdown);
    const Shared shared = share(step, stop_wanted(), checkpoints);
    return {report(step, made, shared, session_.seconds() - begin), shared.stop, shared.checkpoint_written,
            skipped.in_a_row >= most_skips_in_a_row};
}

/// Teacher and student over the step's micro-batches: after it, gradients are summed over all ranks.
void TrainingStep::passes(int64_t step, std::span<const train::MicroBatch> now, Breakdown& breakdown) {
    objective_.reset();
    const double scored = data_.scored_tokens(now);
    if (states_) states_->begin_step(1.0 / scored);
    {
        const Timed timed = ctx_.computing();
        fill(ctx_, 0.0f, student_->gradients());
    }
    const auto read = [&](const comm::Topology& grid) {
        return breakdown.io([&] { return data_.read(step, grid); });
    };
    teacher_.begin_step(ctx_, read, scored);
    pipeline_->step(
        ctx_, now, data_.ahead(),
        [&](const train::MicroBatch& batch, const Tensor& hidden, const Tensor& teacher_hidden) {
            return head_backward(batch, hidden, teacher_hidden, 1.0 / scored);
        },
        reducer_.get());
    reducer_->finish(ctx_);
}

/// The gradient of the final hidden states of a micro-batch; the head's is added to the student's.
Tensor TrainingStep::head_backward(const train::MicroBatch& batch, const Tensor& hidden,
                                   const Tensor& teacher_hidden, double token_weight) {
    const auto teacher = teacher_.of(ctx_, *student_, batch.first_sample, teacher_hidden);
    const bool balance = states_ && !states_->loss().terms().weight;
    const double before = balance ? objective_.sums(ctx_).divergence : 0.0;
    Tensor d_hidden = objective_.backward(ctx_, *student_, hidden, teacher, batch.labels, token_weight);
    if (balance)
        states_->loss().balance_with(loss().divergence_weight * (objective_.sums(ctx_).divergence - before));
    return d_hidden;
}

TrainingStep::Update TrainingStep::update(int64_t step, Checkpoints& checkpoints, Breakdown& breakdown) {
    double norm = train::gradient_norm(ctx_, student_->gradients(), optimizer_->owned(), topology_);
    if (states_) norm = std::hypot(norm, std::sqrt(states_->synchronise_gradient()));
    const double teacher_norm = teacher_.gradient_norm(ctx_);
    breakdown.io([&] { checkpoints.detach(); });
    const double rate = train::learning_rate(schedule(o_, steps_), step);
    if (!std::isfinite(norm) || !std::isfinite(teacher_norm)) {
        skip(step, std::isfinite(norm) ? "teacher's" : "student's");
        return {rate, norm};
    }
    const double clip = train::clipping(norm, o_.clip_grad);
    const int64_t updates = step - skipped.all;
    optimizer_->step(ctx_, updates, rate, clip);
    if (states_) states_->update(updates, rate, clip);
    teacher_.update(ctx_, updates, rate / o_.lr, teacher_norm);
    skipped.in_a_row = 0;
    return {rate, norm};
}

void TrainingStep::skip(int64_t step, std::string_view whose_gradient) {
    ++skipped.all;
    ++skipped.in_a_row;
    session_.log().warning("step {}: the {} gradient is not finite; the step is skipped", step,
                           whose_gradient);
}

TrainingStep::Shared TrainingStep::share(int64_t step, bool stop_wanted, Checkpoints& checkpoints) {
    const bool speaks = topology_.last_stage() && topology_.tensor.rank() == 0;
    const auto& sums = objective_.sums(ctx_);
    const auto* corrected = teacher_.sums(ctx_);
    const auto hidden = speaks && states_ ? states_->loss().sums() : distill::StateSums{};
    std::array<double, 8> all{speaks ? sums.divergence : 0,
                              speaks ? sums.label : 0,
                              speaks ? sums.tokens : 0,
                              speaks && corrected ? corrected->label : 0,
                              hidden.distance,
                              hidden.loss,
                              stop_wanted ? 1.0 : 0.0,
                              checkpoints.written() ? 0.0 : 1.0};
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
            checkpoints.under_way() && all[7] == 0,
            memory};
}

StepReport TrainingStep::report(int64_t step, const Update& update, const Shared& shared,
                                double seconds) const {
    const double tokens = data_.tokens_of_a_step(), scored = std::max(1.0, shared.sums.tokens);
    StepReport r;
    r.step = step;
    r.steps = steps_;
    r.global_batch = o_.global_batch;
    r.consumed_samples = step * o_.global_batch;
    r.tokens = r.consumed_samples * o_.seq_len;
    r.loss = shared.sums.objective(loss()) + shared.hidden_loss / scored;
    r.lm_loss = shared.sums.label / scored;
    if (loss().divergence) r.kd_loss = shared.sums.divergence / scored;
    if (states_) {
        r.hidden_loss = shared.hidden_distance / scored;
        r.alpha = states_->loss().terms().weight.value_or(
            shared.hidden_distance > 0 ? shared.hidden_loss / shared.hidden_distance : 0.0);
    }
    if (teacher_.learns()) r.teacher_loss = shared.teacher_label / scored;
    r.learning_rate = update.learning_rate;
    r.grad_norm = update.gradient_norm;
    r.seconds = seconds;
    r.tokens_per_second = tokens / r.seconds;
    r.flops_per_second = flops_per_token() * tokens / r.seconds;
    r.skipped = skipped.all;
    r.memory_bytes = shared.memory_bytes;
    return r;
}

}  // namespace espalier::jobs
