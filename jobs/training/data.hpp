// What a training run reads: its samples as the micro-batches of steps, and the text held out of them.
#pragma once

#include "jobs/data/tokens.hpp"
#include "jobs/training/options.hpp"

namespace espalier::jobs {

class TrainingData {
public:
    /// Collective. Opens --data, for `steps` steps, and --valid, where it is given, for a model that knows
    /// `vocab` tokens; without --valid, what --split holds out of --data. References must outlive this.
    /// Throws UserError.
    TrainingData(Session& session, const TrainingOptions& o, const data::DocumentMasks& masks, int64_t vocab,
                 int64_t steps);

    const data::Samples& samples() const { return samples_; }
    bool has_held_out() const { return !held_out_.empty(); }
    double tokens_of_a_step() const { return static_cast<double>(o_.global_batch * o_.seq_len); }

    /// The micro-batches of a step, from 1, that a replica of a grid has; micro-batches, not samples, are
    /// dealt out, so that they are the same on any dp.
    std::vector<train::MicroBatch> read(int64_t step, const comm::Topology& grid) const;
    /// Those of this rank's replica of the student. Reads the next step's ahead: a teacher may begin with
    /// them.
    std::vector<train::MicroBatch> take(int64_t step);
    std::span<const train::MicroBatch> ahead() const { return ahead_; }

    /// Collective. How many of a step's tokens count in the loss, over all replicas, of which this one has
    /// `mine`. Where none does, 1: sums over none are 0.
    double scored_tokens(std::span<const train::MicroBatch> mine) const;
    /// Collective. Mean over the tokens held out that count.
    double held_out_loss(model::Transformer& student) const;

private:
    TrainingData(Session& session, const TrainingOptions& o, const data::DocumentMasks& masks, int64_t vocab,
                 int64_t steps, const std::vector<data::Source>& sources);
    /// What --split leaves for that.
    void hold_out(const Session& session, const std::vector<data::Source>& sources);

    Context& ctx_;
    const comm::Topology& topology_;
    const TrainingOptions& o_;
    const data::DocumentMasks& masks_;
    int64_t steps_;
    data::Samples samples_;
    std::vector<TokenStream> held_out_;  // of one file each
    std::vector<train::MicroBatch> ahead_;
};

}  // namespace espalier::jobs
