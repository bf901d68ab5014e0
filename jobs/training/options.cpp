#include "jobs/training/options.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "jobs/data/tokens.hpp"
#include "jobs/files/model_file.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

constexpr int64_t most_tokens = 1'000'000'000'000'000;
constexpr double least_eps = std::numeric_limits<float>::min();

}  // namespace

void declare_training(Options& options, TrainingOptions& o) {
    options.required("data", o.data, "PREFIX, or WEIGHT PREFIX pairs");
    declare_split(options, o.split);
    options.add("valid", o.valid,
                "PREFIX of held-out token files, scored in order; default: what --split holds out");
    options.required("out", o.out, "folder of the run");
    options.required("tokens", o.tokens,
                     "to train on; steps = tokens / (global-batch x seq-len), rounded up");
    options.required("seq-len", o.seq_len, "tokens of a sample");
    options.required("global-batch", o.global_batch, "samples of a step");
    options.add("micro-batch", o.micro_batch, "samples of a forward and backward pass");
    options.add("lr", o.lr, "peak learning rate");
    options.add("min-lr", o.min_lr, "learning rate that it falls to");
    options.add("warmup-steps", o.warmup_steps, "linear warm-up");
    options.add(
        "lr-decay-style", o.decay,
        "how it falls: cosine, linear, constant, inverse-square-root, wsd (late, over the last steps)");
    options.add("lr-wsd-decay-steps", o.annealing_steps, "those steps; 0: a tenth of all");
    options.add("lr-wsd-decay-style", o.annealing,
                "how it falls there: exponential, linear, cosine, minus-sqrt");
    options.add("weight-decay", o.weight_decay, "of matrices and embeddings");
    options.add("adam-beta1", o.beta1, "decay of the gradients' mean");
    options.add("adam-beta2", o.beta2, "decay of the mean of their squares");
    options.add("adam-eps", o.eps, "added to the root of the second");
    options.add("clip-grad", o.clip_grad, "largest gradient norm; 0: no clipping");
    options.add("checkpoint-every", o.checkpoint_every, "steps; 0: only when stopped");
    options.add("keep", o.keep, "checkpoints to keep");
    options.add("valid-every", o.valid_every, "steps; 0: only at the end");
    options.add("log-every", o.log_every, "steps between log lines");
    options.add(
        "recompute", o.recompute,
        "in the backward pass: none; selective: norms and activations; full: each layer from its input");
    options.add("resume", o.resume, "auto: go on from the newest checkpoint in the folder; never: do not");
    options.add("exit-after-minutes", o.exit_after_minutes, "checkpoint and exit with code 3; 0: never");
    options.add("exit-after-steps", o.exit_after_steps, "the same after this step; 0: never");
    declare_documents(options, o.documents);
}

void check(const TrainingOptions& o) {
    const auto positive = [](auto value, const char* option) {
        ESPALIER_REQUIRE(value > 0, "{} {}: it must be positive", option, value);
    };
    for (const auto& [value, option] : {std::pair{o.lr, "--lr"},
                                        {o.min_lr, "--min-lr"},
                                        {o.teacher_lr, "--teacher-lr"},
                                        {o.weight_decay, "--weight-decay"},
                                        {o.eps, "--adam-eps"},
                                        {o.clip_grad, "--clip-grad"},
                                        {o.temperature, "--temperature"},
                                        {o.exit_after_minutes, "--exit-after-minutes"}})
        ESPALIER_REQUIRE(std::isfinite(value) && value >= 0, "{} {}: it must be a number, and not negative",
                         option, value);
    positive(o.tokens, "--tokens");
    positive(o.seq_len, "--seq-len");
    positive(o.global_batch, "--global-batch");
    positive(o.micro_batch, "--micro-batch");
    positive(o.lr, "--lr");
    ESPALIER_REQUIRE(o.min_lr <= o.lr,
                     "--min-lr {} exceeds --lr {}: the learning rate would rise; give "
                     "--min-lr too",
                     o.min_lr, o.lr);
    const train::Decay decay = train::decay_from_string(o.decay, "--lr-decay-style");
    const auto annealing = train::annealing_from_string(o.annealing, "--lr-wsd-decay-style");
    ESPALIER_REQUIRE(
        decay == train::Decay::wsd || (o.annealing_steps == 0 && annealing == train::Annealing::exponential),
        "--lr-decay-style {}: --lr-wsd-decay-steps and --lr-wsd-decay-style are of wsd alone", o.decay);
    positive(o.log_every, "--log-every");
    positive(o.keep, "--keep");
    ESPALIER_REQUIRE(o.tokens <= most_tokens && o.global_batch <= most_tokens / o.seq_len,
                     "--tokens {}, --global-batch {} of --seq-len {}: that is more than {} tokens", o.tokens,
                     o.global_batch, o.seq_len, most_tokens);
    ESPALIER_REQUIRE(o.warmup_steps >= 0 && o.annealing_steps >= 0 && o.checkpoint_every >= 0 &&
                         o.valid_every >= 0 && o.exit_after_steps >= 0,
                     "--warmup-steps, --lr-wsd-decay-steps, --checkpoint-every, --valid-every and "
                     "--exit-after-steps cannot be negative");
    ESPALIER_REQUIRE(o.teacher_tp >= 0 && o.teacher_pp >= 0,
                     "--teacher-tp {} --teacher-pp {}: they cannot be negative", o.teacher_tp, o.teacher_pp);
    ESPALIER_REQUIRE(o.teacher_lr == 0 || o.correct_teacher,
                     "--teacher-lr {}: only a teacher that --correct-teacher trains has one", o.teacher_lr);
    ESPALIER_REQUIRE(o.micro_batch <= o.global_batch, "--micro-batch {} exceeds --global-batch {}",
                     o.micro_batch, o.global_batch);
    ESPALIER_REQUIRE(
        o.beta1 >= 0 && o.beta1 < 1 && o.beta2 >= 0 && o.beta2 < 1 && o.eps >= least_eps,
        "--adam-beta1 and --adam-beta2 must be in [0, 1), --adam-eps at least {:.2g}, which f32 still holds",
        least_eps);
    ESPALIER_REQUIRE(o.resume == "auto" || o.resume == "never", "--resume {}: choose auto or never",
                     o.resume);
}

void check_divergence(const TrainingOptions& o, const distill::LossTerms& loss) {
    if (loss.divergence) return;
    for (const auto& [given, option] : {std::pair{o.top_k != 0, "--top-k"},
                                        {o.temperature != 1, "--temperature"},
                                        {!o.teacher_cache.empty(), "--teacher-cache"}})
        ESPALIER_REQUIRE(!given,
                         "--loss {}: it compares with no teacher's distribution, and {} is for that; leave "
                         "the option out, or choose a --loss with kl, reverse-kl, jsd, tvd, mse or cosine",
                         o.loss, option);
}

void check_weights(const TrainingOptions& o, const distill::LossTerms& loss,
                   const distill::StateTerms& states) {
    // auto: as much as the divergence.
    const bool of_states = !states.pairs.empty() && states.weight.value_or(0) > 0;
    ESPALIER_REQUIRE(loss.divergence_weight > 0 || loss.label_weight > 0 || of_states,
                     "--loss {}: every weight is 0, and there would be nothing to learn", o.loss);
}

train::OptimizerOptions optimizer_options(const TrainingOptions& o) {
    return {static_cast<float>(o.beta1), static_cast<float>(o.beta2), static_cast<float>(o.eps),
            static_cast<float>(o.weight_decay)};
}

train::Schedule schedule(const TrainingOptions& o, int64_t steps) {
    return {.peak = o.lr,
            .floor = o.min_lr,
            .warmup_steps = o.warmup_steps,
            .steps = steps,
            .decay = train::decay_from_string(o.decay, "--lr-decay-style"),
            .annealing = train::annealing_from_string(o.annealing, "--lr-wsd-decay-style"),
            .annealing_steps = o.annealing_steps};
}

nlohmann::ordered_json configuration(const Session& session, const ModelFile& student,
                                     const std::string& teacher_sha256, const data::DocumentMasks& masks,
                                     const std::string& data) {
    auto out = without_placement(
        session.options(), {"dtype", "resume", "micro-batch", "recompute", "checkpoint-every", "keep",
                            "valid", "valid-every", "log-every", "exit-after-minutes", "exit-after-steps",
                            "model", "student", "teacher", "teacher-cache", "teacher-tp", "teacher-pp"});
    // Checkpoints that know nothing of these were made without them.
    if (out.value("split", "").empty()) out.erase("split");
    const std::string decay = out.value("lr-decay-style", "cosine");
    if (decay == "cosine") out.erase("lr-decay-style");
    if (decay != "wsd") {
        out.erase("lr-wsd-decay-steps");
        out.erase("lr-wsd-decay-style");
    }
    // The balance of losses is a micro-batch's own.
    if (!out.value("hidden-map", "").empty() && out.value("hidden-weight", "") == "auto")
        out["micro-batch"] = session.options()["micro-batch"];
    out["data"] = data;
    out["eod"] = masks.eod;  // whoever named it
    out["dtype"] = to_string(session.dtype());
    out["student_sha256"] = student.sha256();
    if (!teacher_sha256.empty()) out["teacher_sha256"] = teacher_sha256;
    return out;
}

}  // namespace espalier::jobs
