// Token embedding over a table that is split by vocabulary.
#pragma once

#include "src/core/context.hpp"

namespace espalier {

/// out [tokens, n] = table[ids - first_id]; rows of ids outside this rank's table are 0, so that the sum over
/// ranks is the whole lookup.
///   ids    [tokens] i32
///   table  [vocab of this rank, n]  f32 or bf16; holds ids first_id, first_id + 1, ...
///   out    dtype of table
void embed(Context& ctx, const Tensor& ids, const Tensor& table, int64_t first_id, Tensor& out);

/// dtable [vocab of this rank, n] f32 += the rows of dout [tokens, n], f32 or bf16, of the ids it holds. Same
/// result whatever the thread count.
void embed_backward(Context& ctx, const Tensor& dout, const Tensor& ids, int64_t first_id, Tensor& dtable);

}  // namespace espalier
