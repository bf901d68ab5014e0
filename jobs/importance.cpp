// importance: one forward-only pass over calibration samples.
#include <cmath>
#include <sstream>

#include "io/publish.hpp"
#include "jobs/data/tokens.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/job.hpp"
#include "jobs/pruning/depth_task.hpp"
#include "jobs/pruning/scores_file.hpp"
#include "jobs/pruning/scoring.hpp"
#include "jobs/session/output_lock.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

struct ImportanceOptions {
    std::string model, out, site = "post", depth = "bi", depth_task;
    Calibration calibration;
    int64_t depth_block = 0;
    bool head_dims = false;
};

prune::PassOptions pass_options(const ImportanceOptions& o, const model::Architecture& a) {
    prune::PassOptions out{.influence = false, .block = o.depth_block};
    std::istringstream kinds(o.depth);
    for (std::string kind; std::getline(kinds, kind, ',');) {
        ESPALIER_REQUIRE(kind == "bi" || kind == "ppl" || kind == "block-ppl" || kind == "none",
                         "--depth {}: choose bi (block influence), ppl (loss without each layer, and without "
                         "each block where --depth-block is given), block-ppl (without each block alone), "
                         "several with commas between, or none",
                         o.depth);
        ESPALIER_REQUIRE(kind != "block-ppl" || o.depth_block > 0,
                         "--depth block-ppl needs --depth-block N, the layers of a block");
        out.influence = out.influence || kind == "bi";
        out.loss_without = out.loss_without || kind == "ppl";
        out.loss_without_blocks =
            out.loss_without_blocks || kind == "block-ppl" || (kind == "ppl" && o.depth_block > 0);
    }
    ESPALIER_REQUIRE(o.depth_block == 0 || out.influence || out.loss_without || out.loss_without_blocks ||
                         !o.depth_task.empty(),
                     "--depth-block {}: --depth {} measures no layers; leave one of them out", o.depth_block,
                     o.depth);
    ESPALIER_REQUIRE(o.depth_block >= 0 && o.depth_block <= a.depth(),
                     "--depth-block {}: the model has {} layers; choose between 1 and {}", o.depth_block,
                     a.depth(), a.depth());
    return out;
}

/// Model FLOPs of a pass, without those of --depth-task: what comes before missing layers is shared.
double flops_per_token(const prune::PassOptions& pass, const model::Architecture& a, int64_t seq_len) {
    double flops = model::forward_flops_per_token(a, seq_len);
    const auto add_variants = [&](int64_t width) {
        for (int64_t next = width; next <= a.depth(); ++next)
            flops += model::forward_flops_per_token(a, seq_len, next);
    };
    if (pass.loss_without) add_variants(1);
    if (pass.loss_without_blocks) add_variants(pass.block);
    return flops;
}

}  // namespace

int importance(const std::vector<std::string>& arguments, comm::Mpi&) {
    ImportanceOptions o;
    const auto declare = [&](Options& options) {
        options.required("model", o.model, "M.h5");
        options.required("data", o.calibration.data, "PREFIX, or WEIGHT PREFIX pairs");
        declare_split(options, o.calibration.split);
        options.required("out", o.out, "I.h5");
        options.add("samples", o.calibration.samples, "calibration samples");
        options.add("seq-len", o.calibration.seq_len,
                    "tokens of a sample; 0: the model's positions, at most 4096");
        options.add("micro-batch", o.calibration.micro_batch, "samples at a time");
        declare_reset_attention(options, o.calibration.documents);
        options.add("ffn-site", o.site,
                    "post: what a neuron hands to the down projection; pre: what the up projection gives it");
        options.add("head-dims", o.head_dims,
                    "also score each dim of the heads, which `prune --head-dim` needs");
        options.add("depth", o.depth,
                    "bi: block influence; ppl: loss without each layer, and without each block of "
                    "--depth-block; block-ppl: without each block alone; bi,ppl; none");
        options.add("depth-block", o.depth_block, "N: also the influence of every N contiguous layers");
        options.add("depth-task", o.depth_task,
                    "FILE.jsonl of multiple-choice questions: also the accuracy without each layer, or "
                    "without each block of --depth-block");
    };
    return run_job("importance", arguments, declare, [&](Session& session, const Options&) {
        const OutputLock lock(session, o.out);
        io::check_output(o.out, session.common().existing());
        ModelFile file(o.model, session.world().handle());
        const auto& a = file.architecture();
        Calibration calibration = o.calibration;
        check(calibration, file);
        ScoringOptions scoring{.pass = pass_options(o, a),
                               .site = prune::neuron_site_from_string(o.site, "--ffn-site")};
        if (o.head_dims) scoring.head_dims = prune::HeadDimSums::keep;
        const auto questions = o.depth_task.empty() ? std::vector<Question>{} : read_choices(o.depth_task, a);
        const auto data = open_data(session, calibration, file);
        tell_epochs(session.log(), data.samples);
        const auto model = load_transformer(session, file, model::Gradients::none);

        const double begin = session.seconds();
        const auto sums = score_samples(session, *model, data, calibration, scoring);
        const double seconds = session.seconds() - begin;
        ESPALIER_REQUIRE(std::isfinite(sums.loss), "{}: its loss is not a number; are its weights damaged?",
                         o.model);
        ScoresHeader header{calibration.seq_len, file.sha256(), scoring.site, scoring.pass, {}};
        if (!o.depth_task.empty())
            header.accuracy = depth_accuracy(session, *model, questions, std::max<int64_t>(1, o.depth_block),
                                             o.calibration.micro_batch);
        write_scores(session, o.out, a, sums, header);

        if (header.accuracy) session.results["accuracy"] = header.accuracy->whole;
        session.results["epochs"] = data.samples.most_used(calibration.samples).epochs;
        session.results["tokens"] = static_cast<int64_t>(sums.tokens);
        session.results["tokens_per_second"] = sums.tokens / seconds;
        session.results["loss"] = sums.loss / sums.tokens;
        session.model_flops = sums.tokens * flops_per_token(scoring.pass, a, calibration.seq_len);
        session.log().result("{}: {} samples, loss {:.4f}, {:.0f} tokens/s", o.out, calibration.samples,
                             sums.loss / sums.tokens, sums.tokens / seconds);
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
