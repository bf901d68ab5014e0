// The output projection and what is read off it, over a vocabulary that is split among tensor parallel ranks.
// Logits exist for a block of tokens at a time.
#pragma once

#include "src/model/transformer.hpp"

namespace espalier::model {

/// The parts of a micro-batch of which logits exist at a time, of nearly equal size and the same on all
/// ranks: at most 32 MiB of f32 or 128 tokens, below which packing the head costs more than it saves. On a
/// GPU 1 GiB: for each block the head is read, and its gradient read and written in f32, which takes an H100
/// as long as the products of some 400 tokens.
std::vector<Range> logit_blocks(const Architecture& a, Device device, int tp, int64_t tokens);

/// [0, total) in parts of nearly equal size, of at most `most`.
std::vector<Range> split_into(int64_t total, int64_t most);

/// logits [rows, vocab of this rank] f32 of hidden [rows, H], capped where the model caps them.
Tensor logits(Context& ctx, const Transformer& model, const Tensor& hidden);
/// The same of some columns of this rank's vocabulary.
Tensor logits(Context& ctx, const Transformer& model, const Tensor& hidden, Range columns);

/// lse [rows] f32 = log sum exp(logits / tau) over the whole vocabulary.
Tensor log_sum_exp(Context& ctx, const comm::Communicator& tensor, const Tensor& logits, float tau);

/// best [rows] = the vocabulary id with the largest logit, the lowest on a tie; -1 where none is a number.
std::vector<int64_t> argmax(Context& ctx, const comm::Communicator& tensor, const Tensor& logits,
                            int64_t first_id);

/// -log p(label) of each row of hidden [T, H], in double; 0 where the label is negative. All ranks of the
/// tensor group get the same. `best`, where given, becomes each row's most likely id. Logits exist for up to
/// 2048 tokens (8192 on a GPU) and as much of the vocabulary as makes 8 MiB (1 GiB): a product of 170 tokens
/// with a head of 49152 x 576 runs at 0.8 of the rate of one of 2048 tokens with 4096 rows of it.
std::vector<double> token_losses(Context& ctx, const Transformer& model, const Tensor& hidden,
                                 const Tensor& labels, std::vector<int64_t>* best = nullptr);

}  // namespace espalier::model
