// Small models with nothing even about them, and batches of random tokens.
#pragma once

#include "src/model/transformer.hpp"

namespace espalier::test {

/// 9 query heads on 3 KV heads, odd widths, RMSNorm, SwiGLU, full rotary.
model::Architecture tiny_llama();
/// The same with biases before the heads alone.
model::Architecture tiny_qwen2();
/// The same with a norm of every query head and key head, whose epsilon counts, and biases where asked for.
model::Architecture tiny_qwen3(bool biases = false);
/// LayerNorm1P with biases, squared ReLU, half rotary, biases in every projection where asked for.
model::Architecture tiny_nemotron(bool biases = false);

/// RMSNorm with a gain of one plus its weight after attention and MLP too, gates of GELU, a tied embedding
/// that is scaled, capped scores and logits, a window in every other layer.
model::Architecture tiny_gemma2();

/// One LayerNorm a block, for attention and MLP side by side, half rotary, biases everywhere, the head too.
model::Architecture tiny_phi();

/// Weights that are a function of name, global index and seed alone, the same on any layout; norms near
/// identity, biases away from zero.
void randomise(model::Transformer& model, uint64_t seed);

/// ids [batch * seq] below vocab.
std::vector<int32_t> random_ids(int64_t count, int64_t vocab, uint64_t seed);
Tensor labels_of(Context& ctx, const std::vector<int32_t>& ids);

}  // namespace espalier::test
