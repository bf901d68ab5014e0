#include "jobs/pruning/scoring.hpp"

#include "jobs/data/tokens.hpp"
#include "jobs/session/breakdown.hpp"
#include "jobs/session/progress.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {

void check(Calibration& c, const ModelFile& model) {
    ESPALIER_REQUIRE(c.samples >= 1 && c.seq_len >= 0,
                     "--samples {} --seq-len {}: choose at least 1 sample, and a length or 0", c.samples,
                     c.seq_len);
    check_micro_batch(c.micro_batch);
    if (c.seq_len == 0) c.seq_len = std::min<int64_t>(model.architecture().max_positions, 4096);
    check_seq_len(c.seq_len, model);
}

CalibrationData open_data(const Session& session, const Calibration& c, const ModelFile& model) {
    auto sources = data::part_of(open_data(session.world(), c.data, model.architecture().vocab),
                                 data::Split(c.split), data::Part::train);
    return {{std::move(sources), c.samples, c.seq_len, static_cast<uint32_t>(session.common().seed)},
            document_masks(session, c.documents, model)};
}

prune::ScoreSums score_samples(Session& session, model::Transformer& model, const CalibrationData& data,
                               const Calibration& c, const ScoringOptions& options) {
    const auto& topology = session.topology();
    Breakdown breakdown(session.context(), {&topology});
    prune::ScoreSums sums(model.architecture(), options.pass.block, options.head_dims);
    prune::Scorer scorer(model, options.site, sums);
    const Range mine = split_evenly(c.samples, topology.layout.dp, topology.data.rank());
    Progress progress(session, options.what, static_cast<double>(c.samples * c.seq_len), "tokens");
    model::Outbox outbox;
    for (int64_t first = mine.begin; first < mine.end; first += c.micro_batch) {
        const int64_t count = std::min(c.micro_batch, mine.end - first);
        const auto batch = breakdown.io(
            [&] { return read_micro_batch(session.context(), data.samples, data.masks, first, count); });
        prune::scoring_pass(session.context(), model, topology, batch.tokens, batch.labels, options.pass,
                            scorer, outbox);
        progress.show(static_cast<double>((first + count - mine.begin) * c.seq_len * topology.layout.dp));
    }
    scorer.collect(session.context());
    outbox.drain();
    sums.add_ranks(session.world());
    session.results["breakdown"] = breakdown.mean_seconds();
    return sums;
}

}  // namespace espalier::jobs
