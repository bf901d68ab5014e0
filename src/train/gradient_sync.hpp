// Gradients of one step, summed over the ranks that each hold a part of the sum.
#pragma once

#include "src/comm/topology.hpp"
#include "src/model/transformer.hpp"
#include "src/train/shards.hpp"

namespace espalier::train {

/// This replica's share of model.gradients() = the gradient of the whole global batch, in place; the rest is
/// left undefined. Sums
///   over tensor parallel ranks for weights that each of them holds whole but saw with its own tokens only
///   (norms, output biases) and for KV heads that several of them hold; between the first and last stage for
///   a tied embedding; over data parallel replicas for everything.
void synchronise_gradients(Context& ctx, model::Transformer& model, const comm::Topology& topology,
                           const Shards& shards);

/// L2 norm of the whole model's gradient from the replicas' shares; `owned`: runs_owned of the weights. The
/// same on every rank.
double gradient_norm(Context& ctx, const Tensor& gradients, const FlatRuns& owned,
                     const comm::Topology& topology);

}  // namespace espalier::train
