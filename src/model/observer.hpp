// The states inside a model: their names, who sees them in a forward pass, and who adds to their gradients in
// a backward pass. T tokens, Tl = this rank's part of them (sequence parallelism), H hidden, local head
// counts and widths.
#pragma once

#include "src/core/context.hpp"
#include "src/model/token_batch.hpp"

namespace espalier::model {

enum class Site {
    residual,         ///< the residual stream after a layer; layer -1: the embedding's output
    attention_input,  ///< the output of the norm before attention
    mlp_input,        ///< the output of the norm before the MLP; none in a parallel block
    final_norm,       ///< the output of the norm before the head; of no layer
};

/// A hidden state inside a model.
struct StateName {
    Site site = Site::residual;
    int64_t layer = -1;
    bool operator==(const StateName&) const = default;
};

/// Sees activations where they are, during a forward pass. Tensors hold all tokens and this rank's heads and
/// neurons; norm outputs are gathered: all tokens, all channels.
class Observer {
public:
    virtual ~Observer() = default;
    virtual void norm_output(Context&, StateName, const TokenBatch&, const Tensor& /*[T, H]*/) {}
    /// Queries and keys turned by their positions: [T, (q + 2 kv) head_dim].
    virtual void rotated_qkv(Context&, int64_t /*layer*/, const TokenBatch&, const Tensor& /*qkv*/) {}
    virtual void heads(Context&, int64_t /*layer*/, const TokenBatch&, const Tensor& /*[T, q head_dim]*/) {}
    /// Whether `neurons` is to have the moments of `after`, which come cheaper with the activation.
    virtual bool takes_neuron_moments() const { return false; }
    /// before: [T, ffn or 2 ffn] as handed to the activation; after: [T, ffn]; moments: those of `after`
    /// (kernels/statistics.hpp), [batch, 3, ffn] f64, or empty.
    virtual void neurons(Context&, int64_t /*layer*/, const TokenBatch&, const Tensor& /*before*/,
                         const Tensor& /*after*/, const Tensor& /*moments*/) {}
    /// The residual stream between layers: [Tl, H], before the layer and after it.
    virtual void block(Context&, int64_t /*layer*/, const TokenBatch&, const Tensor& /*x*/,
                       const Tensor& /*out*/) {}
};

/// Adds to the gradients of what an Observer saw, as they pass in a backward pass: a loss's own on states
/// inside the model. Tensors hold this rank's tokens, [Tl, H].
class Injector {
public:
    virtual ~Injector() = default;
    /// Of the residual stream after a layer; -1: of the embedding.
    virtual void residual(Context&, int64_t /*layer*/, Tensor& /*d*/) {}
    /// Of a norm's output, inside a layer or before the head.
    virtual void norm_output(Context&, StateName, Tensor& /*d*/) {}
};

}  // namespace espalier::model
