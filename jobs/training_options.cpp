#include "jobs/training.hpp"

#include "jobs/model_file.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {

void declare_training(Options& options, TrainingOptions& o) {
    options.add()("data", po::value(&o.data)->multitoken()->required(), "PREFIX, or WEIGHT PREFIX pairs")(
        "valid", po::value(&o.valid)->default_value(o.valid),
        "PREFIX of held-out token files, scored in order")("out", po::value(&o.out)->required(),
                                                           "folder of the run")(
        "tokens", po::value(&o.tokens)->required(),
        "to train on; steps = tokens / (global-batch x seq-len), rounded up")(
        "seq-len", po::value(&o.seq_len)->required(), "tokens of a sample")(
        "global-batch", po::value(&o.global_batch)->required(), "samples of a step")(
        "micro-batch", po::value(&o.micro_batch)->default_value(o.micro_batch),
        "samples of a forward and backward pass")("lr", po::value(&o.lr)->default_value(o.lr),
                                                  "peak learning rate")(
        "min-lr", po::value(&o.min_lr)->default_value(o.min_lr), "learning rate at the last step")(
        "warmup-steps", po::value(&o.warmup_steps)->default_value(o.warmup_steps), "linear warm-up")(
        "weight-decay", po::value(&o.weight_decay)->default_value(o.weight_decay),
        "of matrices and embeddings")("adam-beta1", po::value(&o.beta1)->default_value(o.beta1), "")(
        "adam-beta2", po::value(&o.beta2)->default_value(o.beta2), "")(
        "adam-eps", po::value(&o.eps)->default_value(o.eps), "")(
        "clip-grad", po::value(&o.clip_grad)->default_value(o.clip_grad),
        "largest gradient norm; 0: no clipping")(
        "checkpoint-every", po::value(&o.checkpoint_every)->default_value(o.checkpoint_every),
        "steps; 0: only when stopped")("keep", po::value(&o.keep)->default_value(o.keep),
                                       "checkpoints to keep")(
        "valid-every", po::value(&o.valid_every)->default_value(o.valid_every), "steps; 0: only at the end")(
        "log-every", po::value(&o.log_every)->default_value(o.log_every), "steps between log lines")(
        "recompute", po::value(&o.recompute)->default_value(o.recompute),
        "in the backward pass: none; selective: norms and activations; full: each layer from its input")(
        "resume", po::value(&o.resume)->default_value(o.resume),
        "auto: go on from the newest checkpoint of the folder; never")(
        "exit-after-minutes", po::value(&o.exit_after_minutes)->default_value(o.exit_after_minutes),
        "checkpoint and exit with code 3; 0: never")(
        "exit-after-steps", po::value(&o.exit_after_steps)->default_value(o.exit_after_steps),
        "the same after this step; 0: never");
    declare_documents(options, o.documents);
}

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

train::OptimizerOptions optimizer_options(const TrainingOptions& o) {
    return {static_cast<float>(o.beta1), static_cast<float>(o.beta2), static_cast<float>(o.eps),
            static_cast<float>(o.weight_decay)};
}

nlohmann::ordered_json configuration(const Session& session, const ModelFile& student,
                                     const std::string& teacher_sha256, const data::DocumentMasks& masks) {
    nlohmann::ordered_json out = session.options();
    for (const char* key : {"tp",
                            "pp",
                            "virtual-stages",
                            "threads",
                            "device",
                            "share-device",
                            "dtype",
                            "quiet",
                            "force",
                            "summary",
                            "out",
                            "resume",
                            "micro-batch",
                            "recompute",
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
                            "teacher",
                            "teacher-cache",
                            "teacher-tp",
                            "teacher-pp"}) {
        out.erase(key);
    }
    // The balance of losses is a micro-batch's own.
    if (!out.value("hidden-map", "").empty() && out.value("hidden-weight", "") == "auto")
        out["micro-batch"] = session.options()["micro-batch"];
    out["eod"] = masks.eod;  // whoever named it
    out["dtype"] = to_string(session.dtype());
    out["student_sha256"] = student.sha256();
    if (!teacher_sha256.empty()) out["teacher_sha256"] = teacher_sha256;
    return out;
}

}  // namespace espalier::jobs
