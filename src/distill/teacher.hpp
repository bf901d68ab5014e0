// What a loss gets to know of the teacher, a block of tokens at a time.
#pragma once

#include <functional>

#include "src/model/logit_parts.hpp"
#include "src/model/transformer.hpp"

namespace espalier::distill {

/// The teacher's distribution for `rows` tokens: logits of this rank's vocabulary, or the most likely tokens
/// alone. On the student's device.
struct TeacherBlock {
    model::LogitParts::Source logits;  ///< for as long as what its Teacher was made of
    /// Without logits, of the K most likely tokens: logits [rows, K] f32, ids [rows, K] i32, and tail [rows]
    /// f32 = log sum exp(logit / temperature) of all others at the temperature of the loss; logits /
    /// temperature up to a constant of the row.
    Tensor top_values, top_ids, tail;
};

/// Gives the block of tokens [begin, begin + rows) of a micro-batch; the same call on all tensor parallel
/// ranks. Empty where a loss compares with nobody.
using Teacher = std::function<TeacherBlock(Context&, int64_t begin, int64_t rows)>;

/// From a model's head and its hidden states [T, H] of the micro-batch. `model` outlives it.
Teacher live_teacher(const model::Transformer& model, Tensor hidden);

/// The K most likely tokens of each of `rows` rows over the whole vocabulary, and all others at the
/// temperature tau. Reads the logits twice.
TeacherBlock top_tokens(Context& ctx, const comm::Communicator& tensor, model::LogitParts& logits,
                        int64_t rows, int64_t k, float tau);

}  // namespace espalier::distill
