#include "jobs/training/data.hpp"

#include <algorithm>
#include <utility>

#include "src/core/error.hpp"
#include "src/evaluate/perplexity.hpp"

namespace espalier::jobs {

TrainingData::TrainingData(Session& session, const TrainingOptions& o, const data::DocumentMasks& masks,
                           int64_t vocab, int64_t steps)
    : TrainingData(session, o, masks, vocab, steps, open_data(session.world(), o.data, vocab)) {}

TrainingData::TrainingData(Session& session, const TrainingOptions& o, const data::DocumentMasks& masks,
                           int64_t vocab, int64_t steps, const std::vector<data::Source>& sources)
    : ctx_(session.context()),
      topology_(session.topology()),
      o_(o),
      masks_(masks),
      steps_(steps),
      samples_(data::part_of(sources, data::Split(o.split), data::Part::train), steps * o.global_batch,
               o.seq_len, static_cast<uint32_t>(session.common().seed)) {
    if (o.valid.empty()) {
        hold_out(session, sources);
        return;
    }
    held_out_.emplace_back(open_data(session.world(), {o.valid}, vocab).front().documents);
    ESPALIER_REQUIRE(held_out_.front().tokens() >= 2, "--valid {}: {} tokens; a loss needs at least 2",
                     o.valid, held_out_.front().tokens());
}

void TrainingData::hold_out(const Session& session, const std::vector<data::Source>& sources) {
    const data::Split split(o_.split);
    if (split.share(data::Part::valid) <= 0) return;
    for (const auto& source : data::part_of(sources, split, data::Part::valid)) {
        TokenStream stream(source.documents);
        if (stream.tokens() >= 2) held_out_.push_back(std::move(stream));
    }
    if (held_out_.empty())
        session.log().warning(
            "--split {}: the second part of --data has no text, so that no loss is measured on it", o_.split);
}

std::vector<train::MicroBatch> TrainingData::read(int64_t step, const comm::Topology& grid) const {
    const int64_t all = div_ceil(o_.global_batch, o_.micro_batch);
    const Range mine = split_evenly(all, grid.layout.dp, grid.data.rank());
    std::vector<train::MicroBatch> out;
    for (int64_t m = mine.begin; m < mine.end; ++m) {
        const int64_t first = m * o_.micro_batch, count = std::min(o_.micro_batch, o_.global_batch - first);
        out.push_back(read_micro_batch(ctx_, samples_, masks_, (step - 1) * o_.global_batch + first, count));
    }
    return out;
}

std::vector<train::MicroBatch> TrainingData::take(int64_t step) {
    auto now = ahead_.empty() ? read(step, topology_) : std::exchange(ahead_, {});
    if (step < steps_) ahead_ = read(step + 1, topology_);
    return now;
}

double TrainingData::scored_tokens(std::span<const train::MicroBatch> mine) const {
    if (!masks_.loss) return tokens_of_a_step();
    int64_t count = 0;
    for (const auto& batch : mine) count += batch.scored;
    return std::max(1.0, static_cast<double>(topology_.data.all_reduce(count, comm::Reduction::sum)));
}

double TrainingData::held_out_loss(model::Transformer& student) const {
    evaluate::StreamLoss all;
    for (const TokenStream& stream : held_out_) {
        const auto windows = evaluate::windows(stream.tokens(), o_.seq_len, o_.seq_len);
        const auto loss = evaluate::stream_loss(
            ctx_, student, topology_, windows, o_.micro_batch, masks_,
            [&](int64_t at, std::span<int32_t> out) { stream.read(at, out); }, [](int64_t) {});
        all.sum += loss.sum;
        all.tokens += loss.tokens;
    }
    return all.mean();
}

}  // namespace espalier::jobs
