// Rotary position embedding (Su et al. 2021), halves rotated against each other as in GPT-NeoX and Llama.
#pragma once

#include "src/core/context.hpp"

namespace espalier {

/// Which way the pairs turn; backward is the transpose of forward.
enum class Rotation { forward, backward };

/// The first `heads` heads of every row of x [tokens, any >= heads * head_dim] are turned in place: with
/// half = the table's second axis, a = angle of the token's position and j < half,
///   x'[j] = x[j] cos a_j - x[j + half] sin a_j,   x'[j + half] = x[j + half] cos a_j + x[j] sin a_j,
/// dims from 2 half on stay.
///   x          f32 or bf16
///   cosines, sines  [positions, half] f32
///   positions  [tokens] i32, each less than the tables' first axis
void rotate(Context& ctx, Tensor& x, const Tensor& cosines, const Tensor& sines, const Tensor& positions,
            int64_t heads, int64_t head_dim, Rotation rotation);

}  // namespace espalier
