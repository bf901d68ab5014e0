#include "jobs/training_data.hpp"

#include <algorithm>
#include <utility>

#include "src/core/error.hpp"
#include "src/evaluate/perplexity.hpp"

namespace espalier::jobs {

TrainingData::TrainingData(Session& session, const TrainingOptions& o, const data::DocumentMasks& masks,
                           int64_t vocab, int64_t steps)
    : ctx_(session.context()),
      topology_(session.topology()),
      o_(o),
      masks_(masks),
      steps_(steps),
      samples_(open_data(session.world(), o.data, vocab), steps * o.global_batch, o.seq_len,
               static_cast<uint32_t>(session.common().seed)) {
    if (o.valid.empty()) return;
    held_out_.emplace(o.valid, vocab);
    ESPALIER_REQUIRE(held_out_->tokens() >= 2, "--valid {}: {} tokens; a loss needs at least 2", o.valid,
                     held_out_->tokens());
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
    const auto windows = evaluate::windows(held_out_->tokens(), o_.seq_len, o_.seq_len);
    const auto loss = evaluate::stream_loss(
        ctx_, student, topology_, windows, o_.micro_batch, masks_,
        [&](int64_t at, std::span<int32_t> out) { held_out_->read(at, out); }, [](int64_t) {});
    return loss.mean();
}

}  // namespace espalier::jobs
