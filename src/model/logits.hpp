// The output projection and what is read off it, over a vocabulary that is split among tensor parallel ranks.
// Logits exist for a block of tokens at a time.
#pragma once

#include "src/model/logit_parts.hpp"
#include "src/model/transformer.hpp"

namespace espalier::model {

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
/// tensor group get the same. `best`, where given, becomes each row's most likely id. Logits exist for
/// loss_blocks and loss_parts at a time.
std::vector<double> token_losses(Context& ctx, const Transformer& model, const Tensor& hidden,
                                 const Tensor& labels, std::vector<int64_t>* best = nullptr);

}  // namespace espalier::model
