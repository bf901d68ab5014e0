// AdamW over one rank's weights, with an f32 master where the model computes in bf16.
#pragma once

#include "kernels/adamw.hpp"
#include "src/model/transformer.hpp"

namespace espalier::train {

struct OptimizerOptions {
    float beta1 = 0.9f;
    float beta2 = 0.95f;
    float eps = 1e-8f;
    float weight_decay = 0.1f;
};

/// State in flat f32 buffers with the offsets of model.parameters().
class Optimizer {
public:
    /// Moments are zero and the master is the model's weights, until both are read into master(), first(),
    /// second().
    Optimizer(Context& ctx, model::Transformer& model, OptimizerOptions options);

    /// One update from model.gradients() times gradient_scale; `step` counts from 1.
    void step(Context& ctx, int64_t step, double learning_rate, double gradient_scale);

    Tensor& master() { return master_; }
    Tensor& first() { return first_; }
    Tensor& second() { return second_; }
    /// The model's weights = master, in the model's dtype.
    void publish_master(Context& ctx);

private:
    model::Transformer& model_;
    OptimizerOptions options_;
    Tensor master_, first_, second_;
};

}  // namespace espalier::train
