// plan: how long a training or distillation step would take on a cluster, for every way to lay it out on the
// GPUs.
#include "io/publish.hpp"
#include "jobs/files/json_file.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/job.hpp"
#include "jobs/plan/calibrate.hpp"
#include "jobs/plan/table.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/standard_output.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

struct PlanOptions {
    std::string model, arch, teacher, teacher_arch, system, out, recompute, optimizer_state = "sharded";
    int64_t gpus = 0, global_batch = 0, seq_len = 0, micro_batch = 0, top = 10;
    bool calibrate = false;
};

void declare(Options& options, PlanOptions& o) {
    options.add("model", o.model, "M.h5, the model that is trained");
    options.add("arch", o.arch, "or its ARCH.json");
    options.add("teacher", o.teacher, "M.h5 of a teacher: a distillation step");
    options.add("teacher-arch", o.teacher_arch, "or its ARCH.json");
    options.add("system", o.system, "FILE.json that describes the cluster (share/systems, or --calibrate's)");
    options.add("gpus", o.gpus, "of the cluster to use");
    options.add("global-batch", o.global_batch, "samples of a step");
    options.add("seq-len", o.seq_len, "tokens of a sample");
    options.add("micro-batch", o.micro_batch, "samples of a forward and backward pass; 0: try all");
    options.add("recompute", o.recompute, "none, selective or full (default: try all)");
    options.add("optimizer-state", o.optimizer_state, "sharded over replicas (ZeRO-1) or replicated");
    options.add("top", o.top, "lines of the table");
    options.add("out", o.out, "FILE.json for all layouts, or for --calibrate's system");
    options.add(
        "calibrate", o.calibrate,
        "measure this machine on these ranks, their --device and --dtype (all by default), and write its "
        "system to --out");
}

/// Of a model that can take samples of `seq_len` tokens.
model::Architecture architecture(const std::string& model, const std::string& arch, int64_t seq_len) {
    auto out = model.empty() ? read_architecture(arch) : ModelFile(model, MPI_COMM_SELF).architecture();
    check_seq_len(seq_len, out, model.empty() ? arch : model);
    return out;
}

plan::Step read_step(const PlanOptions& o, DType dtype) {
    plan::Step step;
    step.model = architecture(o.model, o.arch, o.seq_len);
    if (!o.teacher.empty() || !o.teacher_arch.empty()) {
        step.teacher = architecture(o.teacher, o.teacher_arch, o.seq_len);
        ESPALIER_REQUIRE(step.teacher->vocab == step.model.vocab,
                         "the teacher's vocabulary has {} tokens, the student's {}; they must be the same",
                         step.teacher->vocab, step.model.vocab);
    }
    step.global_batch = o.global_batch;
    step.seq_len = o.seq_len;
    step.dtype = dtype;
    if (o.optimizer_state == "replicated") step.practice.state = plan::Practice::State::replicated;
    return step;
}

plan::Choice read_choice(const PlanOptions& o, const CommonOptions& common, const Options& options) {
    plan::Choice choice;
    if (options.given("tp")) choice.tp = common.tp;
    if (options.given("pp")) choice.pp = common.pp;
    if (options.given("virtual-stages")) choice.virtual_stages = common.virtual_stages;
    if (o.micro_batch > 0) choice.micro_batch = o.micro_batch;
    if (!o.recompute.empty()) choice.recompute = model::recompute_from_string(o.recompute, "--recompute");
    return choice;
}

void check(const PlanOptions& o, const CommonOptions& common) {
    ESPALIER_REQUIRE(o.model.empty() != o.arch.empty(),
                     "give the model as --model M.h5 or as --arch ARCH.json");
    ESPALIER_REQUIRE(o.teacher.empty() || o.teacher_arch.empty(),
                     "give the teacher as --teacher M.h5 or as --teacher-arch ARCH.json, not both");
    ESPALIER_REQUIRE(
        !o.system.empty(),
        "missing option --system; share/systems has files for common clusters, and `espalier plan "
        "--calibrate --out FILE.json` writes one for this machine");
    for (const auto& [name, value] : {std::pair{"gpus", o.gpus}, std::pair{"global-batch", o.global_batch},
                                      std::pair{"seq-len", o.seq_len}, std::pair{"top", o.top}})
        ESPALIER_REQUIRE(value > 0, "--{} {}: it must be at least 1", name, value);
    constexpr int64_t most_gpus = int64_t{1} << 24, most_tokens = int64_t{1} << 50;
    ESPALIER_REQUIRE(o.gpus <= most_gpus, "--gpus {}: choose at most {}", o.gpus, most_gpus);
    ESPALIER_REQUIRE(o.global_batch <= most_tokens / o.seq_len,
                     "--global-batch {} of --seq-len {}: that is more than {} tokens", o.global_batch,
                     o.seq_len, most_tokens);
    ESPALIER_REQUIRE(o.micro_batch >= 0, "--micro-batch {}: it must be at least 1, or 0 to try all",
                     o.micro_batch);
    ESPALIER_REQUIRE(common.tp >= 1 && common.pp >= 1 && common.virtual_stages >= 1,
                     "--tp, --pp and --virtual-stages must be at least 1");
    ESPALIER_REQUIRE(o.optimizer_state == "sharded" || o.optimizer_state == "replicated",
                     "--optimizer-state {}: choose sharded or replicated", o.optimizer_state);
}

void make_plan(Session& session, const PlanOptions& o, const CommonOptions& common, const Options& options) {
    check(o, common);
    const auto system = plan::system_from_json(read_json(o.system), o.system);
    const auto step = read_step(o, common.dtype.empty() ? system.default_dtype() : session.dtype());
    const auto plan = plan::enumerate(system, step, o.gpus, read_choice(o, common, options));
    if (plan.layouts.empty()) {
        const auto& p = *plan.nearest_miss;
        fail(
            "none of {} layouts fits into {:.1f} GB of {}\n  the nearest, {}, needs {:.1f} GB ({:.1f} "
            "weights and "
            "gradients, {:.1f} optimizer, {:.1f} activations, {:.1f} logits); use more --gpus, or leave open "
            "what "
            "is fixed of --tp, --pp, --micro-batch, --recompute",
            plan.tried, (system.memory_bytes - system.reserved_bytes) * 1e-9, system.name,
            to_string(p.layout), p.memory.sum() * 1e-9, (p.memory.weights + p.memory.gradients) * 1e-9,
            p.memory.optimizer * 1e-9, p.memory.activations * 1e-9, p.memory.logits * 1e-9);
    }
    session.results["gpus"] = o.gpus;
    session.results["system"] = system.name;
    session.results["flops_per_step"] = step.flops();
    session.results["tried"] = plan.tried;
    session.results["layouts"] = to_json(plan.layouts);
    if (session.talks())
        print_out("{} x {}, {} x {} tokens a step, {:.3g} FLOP; {} of {} legal layouts fit\n\n{}", o.gpus,
                  system.name, o.global_batch, o.seq_len, step.flops(), plan.layouts.size(), plan.tried,
                  table(plan.layouts, static_cast<size_t>(o.top)));
    finish_printing();
    if (!o.out.empty())
        io::write_file(o.out, nlohmann::ordered_json{{"system", plan::to_json(system)},
                                                     {"options", session.options()},
                                                     {"layouts", session.results["layouts"]}}
                                      .dump(1) +
                                  "\n");
}

void describe_machine(Session& session, const PlanOptions& o) {
    ESPALIER_REQUIRE(!o.out.empty(), "--calibrate needs --out FILE.json for what it finds");
    const auto system = plan::to_json(calibrate(session));
    session.results["system"] = system;
    if (!session.root()) return;
    if (session.talks()) print_out("{}\n", system.dump(1));
    finish_printing();
    io::write_file(o.out, system.dump(1) + "\n");
}

}  // namespace

int plan(const std::vector<std::string>& arguments, comm::Mpi& mpi) {
    PlanOptions o;
    CommonOptions common;
    Options options("plan", common);
    declare(options, o);
    options.leave_open({"tp", "pp", "virtual-stages"});
    if (!options.parse(arguments, mpi.rank() == 0)) return exit_code::done;
    // The layout is that of the cluster planned for, not of the ranks that plan.
    CommonOptions here = common;
    here.tp = here.pp = here.virtual_stages = 1;
    if (!o.calibrate) {
        ESPALIER_REQUIRE(
            here.device != "cuda",
            "--device cuda: only --calibrate computes; leave --device out, and describe the GPUs "
            "that are planned for by --system");
        if (here.device == "auto") here.device = "cpu";
    }
    Session session("plan", options, here);
    std::optional<OutputLock> lock;
    if (!o.out.empty()) {
        lock.emplace(session, o.out);
        io::check_output(o.out, common.existing());
    }
    if (o.calibrate) {
        options.refuse_given({"model", "arch", "teacher", "teacher-arch", "system", "gpus", "global-batch",
                              "seq-len", "micro-batch", "recompute", "optimizer-state", "top"},
                             "--calibrate measures the machine, and plans nothing; leave it out");
        describe_machine(session, o);
    } else if (session.root()) {
        make_plan(session, o, common, options);
    }
    session.finish();
    return exit_code::done;
}

}  // namespace espalier::jobs
