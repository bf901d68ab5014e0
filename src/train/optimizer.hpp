// AdamW over this replica's share of a rank's weights, with an f32 master where those are bf16.
#pragma once

#include "kernels/adamw.hpp"
#include "src/model/transformer.hpp"
#include "src/train/shards.hpp"

namespace espalier::train {

struct OptimizerOptions {
    float beta1 = 0.9f;
    float beta2 = 0.95f;
    float eps = 1e-8f;
    float weight_decay = 0.1f;
};

/// State in flat f32 buffers: element i belongs to element shards().mine().begin + i of the weights.
class Optimizer {
public:
    /// Moments are zero and the master is the weights, until they are read into master(), first_moment(),
    /// second_moment(). `replicas`: the ranks that hold the same weights.
    Optimizer(Context& ctx, model::Transformer& model, OptimizerOptions options,
              const comm::Communicator& replicas)
        : Optimizer(ctx, model.parameters(), model.gradients(), options, replicas) {}
    /// Of weights beside a model; `gradients`: flat, with the same offsets.
    Optimizer(Context& ctx, model::ParameterSet& weights, const Tensor& gradients, OptimizerOptions options,
              const comm::Communicator& replicas);

    /// Collective over the replicas. One update from this share of the gradients times gradient_scale, after
    /// which all have all weights; on a device those of a model's parts are on their way
    /// (ParameterSet::expect), first part first. `step` counts from 1.
    void step(Context& ctx, int64_t step, double learning_rate, double gradient_scale);

    /// Of the moments, and of a master apart from the weights.
    int64_t state_bytes() const;

    const Shards& shards() const { return shards_; }
    /// What gradient_norm counts.
    const FlatRuns& owned() const { return owned_; }
    Tensor& master() { return master_; }
    Tensor& first_moment() { return first_moment_; }
    Tensor& second_moment() { return second_moment_; }
    /// Collective over the replicas. The weights = master, in their dtype.
    void publish_master(Context& ctx);

private:
    void gather_weights(Context& ctx);

    model::ParameterSet& weights_;
    Tensor gradients_;
    OptimizerOptions options_;
    comm::Communicator replicas_;
    Shards shards_;
    FlatRuns share_, owned_;
    Tensor master_, first_moment_, second_moment_;
};

}  // namespace espalier::train
