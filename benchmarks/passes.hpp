// Whole passes over models of random weights, ready to be timed on any device and layout.
#pragma once

#include <functional>

#include "src/comm/topology.hpp"
#include "src/distill/loss_terms.hpp"
#include "src/model/transformer.hpp"
#include "src/train/pipeline.hpp"

namespace espalier::benchmarks {

struct Setup {
    Context& ctx;
    comm::Topology topology;
    DType dtype;
    int64_t batch, micro_batch, seq;  ///< samples of a step, of them at a time, tokens of each

    double tokens() const { return static_cast<double>(batch * seq); }
};

/// What is timed; it keeps its tensors, and refers to the setup and the models that it was made of.
using Work = std::function<void()>;

/// Weights around 0, about as large as trained ones.
void randomise(Context& ctx, model::Transformer& model);

enum class Scoring { no, yes };
/// Forward only with its loss, or importance scoring.
Work forward(const Setup& s, model::Transformer& model, Scoring scoring);

/// A step of training until the weights are new: KL to the teacher, or without one cross-entropy.
Work training_step(const Setup& s, model::Transformer* teacher, model::Transformer& student);

/// The heads of a micro-batch: teacher's and student's logits, the loss, gradients of hidden states and head.
Work fused_head(const Setup& s, const distill::LossTerms& loss, model::Transformer& teacher,
                model::Transformer& student);
/// Its matrix products alone, on the logits of the whole micro-batch.
Work head_products(const Setup& s, model::Transformer& teacher, model::Transformer& student);

}  // namespace espalier::benchmarks
