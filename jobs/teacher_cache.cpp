// teacher-cache: what the teacher says to each sample of a run to come, so that the run needs no teacher.
#include <cmath>

#include "jobs/data/documents.hpp"
#include "jobs/data/tokens.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/files/tokenizer_files.hpp"
#include "jobs/job.hpp"
#include "jobs/session/progress.hpp"
#include "jobs/training/teacher_cache_file.hpp"
#include "src/core/error.hpp"
#include "src/model/logits.hpp"
#include "src/model/stage.hpp"

namespace espalier::jobs {
namespace {

struct CacheOptions {
    std::string teacher, out, split;
    std::vector<std::string> data;
    int64_t samples = 0, seq_len = 0, micro_batch = 1, top_k = 0;
    double temperature = 1;
    DocumentOptions documents;
};

void check(CacheOptions& o, const ModelFile& teacher) {
    const auto& a = teacher.architecture();
    ESPALIER_REQUIRE(o.samples >= 0 && o.seq_len >= 0, "--samples and --seq-len cannot be negative");
    check_micro_batch(o.micro_batch);
    if (o.seq_len == 0) o.seq_len = std::min<int64_t>(a.max_positions, 2048);
    check_seq_len(o.seq_len, teacher);
    ESPALIER_REQUIRE(o.top_k >= 0 && o.top_k < a.vocab,
                     "--top-k {}: {} has {} tokens; choose --top-k < {}, or 0 for whole distributions",
                     o.top_k, o.teacher, a.vocab, a.vocab);
    ESPALIER_REQUIRE(o.temperature > 0 && std::isfinite(o.temperature),
                     "--temperature {}: it must be positive", o.temperature);
}

/// As many as a file yields without a token coming twice.
int64_t samples_of_one_pass(const std::vector<data::Source>& sources, int64_t seq_len) {
    ESPALIER_REQUIRE(sources.size() == 1 && !sources.front().weight,
                     "--samples: of a blend it must be given: the steps of the run x its global batch");
    return std::max<int64_t>((data::token_count(*sources.front().documents) - 1) / seq_len, 1);
}

void write_batch(Context& ctx, const model::Transformer& model, const Tensor& hidden, int64_t first_sample,
                 TeacherCacheWriter& writer) {
    for (const Range block : model::logit_blocks(model.architecture(), ctx.device(), model.dtype(),
                                                 model.tensor().size(), hidden.dim(0))) {
        writer.write(ctx, model.tensor(), first_sample, block.begin,
                     model::logits(ctx, model, hidden.rows(block.begin, block.size())),
                     model.vocabulary().begin);
    }
}

}  // namespace

int teacher_cache(const std::vector<std::string>& arguments, comm::Mpi&) {
    CacheOptions o;
    const auto declare = [&](Options& options) {
        options.required("teacher", o.teacher, "T.h5");
        options.required("data", o.data, "PREFIX, or WEIGHT PREFIX pairs");
        declare_split(options, o.split);
        options.required("out", o.out, "folder of the cache");
        options.add(
            "samples", o.samples,
            "as many as the run will take: its steps x its global batch; 0: the one file of --data once");
        options.add("seq-len", o.seq_len, "tokens of a sample; 0: the model's positions, at most 2048");
        options.add("micro-batch", o.micro_batch, "samples at a time");
        options.add("top-k", o.top_k,
                    "keep the K most likely tokens of each; 0: whole distributions, 2 bytes a token of the "
                    "vocabulary");
        options.add("temperature", o.temperature, "of the run's loss; counts with --top-k");
        declare_reset_attention(options, o.documents);
    };
    return run_job("teacher-cache", arguments, declare, [&](Session& session, const Options&) {
        ModelFile file(o.teacher, session.world().handle());
        const auto& a = file.architecture();
        check(o, file);
        const auto masks = document_masks(session, o.documents, file);
        const auto seed = session.common().seed;
        const data::Split split(o.split);
        const auto sources =
            data::part_of(open_data(session.world(), o.data, a.vocab), split, data::Part::train);
        if (o.samples == 0) o.samples = samples_of_one_pass(sources, o.seq_len);
        const data::Samples samples(sources, o.samples, o.seq_len, static_cast<uint32_t>(seed));
        TeacherCacheWriter writer(
            session, o.out,
            {file.sha256(), data_fingerprint(session.world(), o.data, split), a.vocab, o.seq_len, o.samples,
             seed, o.top_k, o.temperature, masks.attention ? masks.eod : -1, text_ids_hash(file)},
            samples);
        const auto model = load_transformer(session, file, model::Gradients::none);
        Context& ctx = session.context();
        const auto& topology = session.topology();
        const Range mine = split_evenly(o.samples, topology.layout.dp, topology.data.rank());
        const double all_tokens = static_cast<double>(o.samples * o.seq_len), begin = session.seconds();
        Progress progress(session, "teacher-cache", all_tokens, "tokens");
        model::Outbox outbox;
        for (int64_t first = mine.begin; first < mine.end; first += o.micro_batch) {
            const int64_t count = std::min(o.micro_batch, mine.end - first);
            const auto tokens = read_micro_batch(ctx, samples, masks, first, count).tokens;
            const Tensor hidden = model::forward_pipeline(ctx, *model, topology, tokens, outbox);
            if (hidden) write_batch(ctx, *model, hidden, first, writer);
            progress.show(static_cast<double>((first + count - mine.begin) * o.seq_len * topology.layout.dp));
        }
        outbox.drain();
        const double seconds = session.seconds() - begin;
        writer.publish(extend_history(file, session));
        session.results["tokens"] = o.samples * o.seq_len;
        session.results["bytes_per_token"] = o.top_k > 0 ? 8 * o.top_k + 4 : 2 * a.vocab;
        session.results["tokens_per_second"] = all_tokens / seconds;
        session.model_flops = all_tokens * model::forward_flops_per_token(a, o.seq_len);
        session.log().result("{}: {} samples, {} bytes a token", o.out, o.samples,
                             session.results["bytes_per_token"].dump());
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
