// What a micro-batch takes on a rank, counted from the shapes of what Layer and the head make.
#pragma once

#include "src/model/transformer.hpp"

namespace espalier::model {

/// Tokens of a micro-batch: all, T, and those whose norms and residuals this rank computes, Tl.
struct TokenCounts {
    int64_t all;
    int64_t local;
};

/// Bytes of a layer's activations by kind.
struct ActivationBytes {
    bool parallel;            ///< one norm, whose output attention and the MLP read
    int tp;                   ///< ranks; more than one gather and scatter copies
    int64_t all, local;       ///< [T, H] and [Tl, H]
    int64_t qkv, heads;       ///< [T, (q + 2 kv) head_dim], [T, q head_dim]
    int64_t before, neurons;  ///< [T, 2 ffn] or [T, ffn], [T, ffn]
    int64_t lse, stats;       ///< [batch, q, seq] and [Tl, 2], f32
    int64_t normed, rstd;     ///< where heads are normed: [T, (q + 2 kv) head_dim], [T, q + kv] in f32
    int64_t put_out;          ///< where outputs are normed too: [Tl, H], of attention and of the MLP
    int64_t post_stats;       ///< and the statistics of both norms

    /// Of the norms, of their counterparts after attention and MLP, of attention, of the output
    /// projection and of the activation.
    int64_t inputs() const;
};
ActivationBytes activation_bytes(const Architecture& a, int64_t layer, TensorPart tensor, TokenCounts tokens,
                                 DType dtype);

/// What a layer keeps for its backward pass: SavedLayer.
int64_t saved_bytes(const ActivationBytes& bytes, Recompute recompute);
/// What is there at once beside it, in the pass through one layer; without what full recomputation saves
/// again.
int64_t forward_bytes(const ActivationBytes& bytes);
int64_t backward_bytes(const ActivationBytes& bytes, Recompute recompute);

/// [tokens, H]
int64_t hidden_bytes(const Architecture& a, int64_t tokens, DType dtype);
/// What the last stage has of a micro-batch's hidden states: before the final norm, after it, and the
/// gradient.
int64_t head_state_bytes(const Architecture& a, TokenCounts tokens, DType dtype);
/// What the head of a step holds beside its inputs on this processor (head_storage): logits of `models`
/// models, the gradient of one where it does not take their place, and that of the hidden states while it is
/// summed in f32.
int64_t logit_bytes(const Architecture& a, Device device, TensorPart tensor, int64_t tokens, DType dtype,
                    int models);

}  // namespace espalier::model
