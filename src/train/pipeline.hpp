// One step's micro-batches through the pipeline, one forward one backward (Narayanan et al. 2019): a stage
// holds the activations of at most as many micro-batches as there are stages after it, plus one.
#pragma once

#include <functional>
#include <span>

#include "src/comm/topology.hpp"
#include "src/model/transformer.hpp"

namespace espalier::train {

struct MicroBatch {
    model::TokenBatch tokens;
    Tensor labels;  ///< [tokens] i32; < 0 is not scored
};

/// On the last stage: from the hidden states of student and teacher [T, H] (teacher's empty without one),
/// adds to the head's gradient and gives d_hidden [T, H], this rank's part of the sum over tensor parallel
/// ranks.
using LossFunction = std::function<Tensor(const MicroBatch&, const Tensor& student, const Tensor& teacher)>;

/// model.gradients() += the gradient of all micro-batches of this replica. The teacher, when there is one,
/// lives on the same grid and runs forward only, ahead of the model on each micro-batch.
void accumulate_gradients(Context& ctx, const comm::Topology& topology, model::Transformer& model,
                          model::Transformer* teacher, std::span<const MicroBatch> micro_batches,
                          const LossFunction& loss);

}  // namespace espalier::train
