// importance: one forward-only pass over calibration samples.
#include <fmt/core.h>

#include <sstream>

#include "io/publish.hpp"
#include "jobs/depth_task.hpp"
#include "jobs/job.hpp"
#include "jobs/model_file.hpp"
#include "jobs/progress.hpp"
#include "jobs/scores_file.hpp"
#include "jobs/tokens.hpp"
#include "src/core/error.hpp"
#include "src/prune/scoring_pass.hpp"

namespace espalier::jobs {
namespace {

struct ImportanceOptions {
    std::string model, out, site = "post", depth = "bi", depth_task;
    std::vector<std::string> data;
    int64_t samples = 1024, seq_len = 0, micro_batch = 1, depth_block = 0;
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
    ESPALIER_REQUIRE(o.depth_block >= 0 && o.depth_block <= a.depth(),
                     "--depth-block {}: the model has {} layers; choose between 1 and {}", o.depth_block,
                     a.depth(), a.depth());
    return out;
}

/// Samples [first, first + count) as one micro-batch, and their labels.
std::pair<model::TokenBatch, Tensor> read_batch(Context& ctx, const data::Samples& samples, int64_t first,
                                                int64_t count) {
    const int64_t seq = samples.seq_len();
    std::vector<int32_t> ids, sample(static_cast<size_t>(seq + 1));
    Tensor labels = ctx.empty({count * seq}, DType::i32);
    for (int64_t i = 0; i < count; ++i) {
        samples.read(first + i, sample);
        ids.insert(ids.end(), sample.begin(), sample.end() - 1);
        std::copy(sample.begin() + 1, sample.end(), labels.data<int32_t>() + i * seq);
    }
    return {model::make_batch(ctx, ids, count, seq), labels};
}

}  // namespace

int importance(const std::vector<std::string>& arguments, comm::Mpi&) {
    ImportanceOptions o;
    const auto declare = [&](Options& options) {
        options.add()("model", po::value(&o.model)->required(), "M.h5")(
            "data", po::value(&o.data)->multitoken()->required(), "PREFIX, or WEIGHT PREFIX pairs")(
            "out", po::value(&o.out)->required(), "I.h5")(
            "samples", po::value(&o.samples)->default_value(o.samples), "calibration samples")(
            "seq-len", po::value(&o.seq_len)->default_value(o.seq_len),
            "tokens of a sample; 0: the model's positions, at most 4096")(
            "micro-batch", po::value(&o.micro_batch)->default_value(o.micro_batch), "samples at a time")(
            "ffn-site", po::value(&o.site)->default_value(o.site),
            "post: what a neuron hands to the down projection; pre: what the up projection gives it")(
            "depth", po::value(&o.depth)->default_value(o.depth),
            "bi: block influence; ppl: loss without each layer, and without each block of --depth-block; "
            "block-ppl: without each block alone; bi,ppl; none")(
            "depth-block", po::value(&o.depth_block)->default_value(o.depth_block),
            "N: also the influence of every N contiguous layers")(
            "depth-task", po::value(&o.depth_task)->default_value(o.depth_task),
            "FILE.jsonl of multiple-choice questions: also the accuracy without each layer, or without each "
            "block of --depth-block");
    };
    return run_job("importance", arguments, declare, [&](Session& session, const Options&) {
        io::check_output(o.out, session.common().force);
        ESPALIER_REQUIRE(o.site == "post" || o.site == "pre", "--ffn-site {}: choose post or pre", o.site);
        ESPALIER_REQUIRE(o.samples >= 1 && o.micro_batch >= 1 && o.seq_len >= 0,
                         "--samples and --micro-batch must be at least 1");
        ModelFile file(o.model, session.world().handle());
        const auto& a = file.architecture();
        const int64_t seq = o.seq_len > 0 ? o.seq_len : std::min<int64_t>(a.max_positions, 4096);
        ESPALIER_REQUIRE(seq <= a.max_positions,
                         "--seq-len {}: the model has {} positions; choose --seq-len <= {}", seq,
                         a.max_positions, a.max_positions);
        const auto pass = pass_options(o, a);
        const data::Samples samples(open_data(o.data, a.vocab), o.samples, seq,
                                    static_cast<uint32_t>(session.common().seed));
        const auto model = load_transformer(session, file, model::Gradients::none);

        prune::ScoreSums sums(a, pass.block);
        prune::Scorer scorer(
            *model,
            o.site == "post" ? prune::NeuronSite::after_activation : prune::NeuronSite::before_activation,
            sums);
        const auto& topology = session.topology();
        const Range mine = split_evenly(o.samples, topology.layout.dp, topology.data.rank());
        Progress progress(session, "importance", static_cast<double>(o.samples * seq), "tokens");
        model::Outbox outbox;
        const double begin = session.seconds();
        for (int64_t first = mine.begin; first < mine.end; first += o.micro_batch) {
            const int64_t count = std::min(o.micro_batch, mine.end - first);
            const auto [tokens, labels] = read_batch(session.context(), samples, first, count);
            prune::scoring_pass(session.context(), *model, topology, tokens, labels, pass, scorer, sums,
                                outbox);
            progress.show(static_cast<double>((first + count - mine.begin) * seq * topology.layout.dp));
        }
        outbox.drain();
        sums.add_ranks(session.world());
        const double seconds = session.seconds() - begin;
        ScoresHeader header{seq, file.sha256(), pass, {}};
        if (!o.depth_task.empty())
            header.accuracy = depth_accuracy(session, *model, o.depth_task,
                                             std::max<int64_t>(1, o.depth_block), o.micro_batch);
        write_scores(session, o.out, a, sums, header);

        if (header.accuracy) session.results["accuracy"] = header.accuracy->whole;
        session.results["tokens"] = static_cast<int64_t>(sums.tokens);
        session.results["tokens_per_second"] = sums.tokens / seconds;
        session.results["loss"] = sums.loss / sums.tokens;
        session.model_flops = sums.tokens * model::forward_flops_per_token(a, seq);
        if (session.talks())
            fmt::print("{}: {} samples, loss {:.4f}, {:.0f} tokens/s\n", o.out, o.samples,
                       sums.loss / sums.tokens, sums.tokens / seconds);
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
