// What importance scores are made of, read off activations where they are.
#pragma once

#include "kernels/activation.hpp"
#include "src/core/context.hpp"
#include "src/core/exact.hpp"

namespace espalier {

/// For each sample (a block of seq rows of x [samples * seq, n]) and each column c of `columns`:
///   moments [samples, 3, columns.size()] f64 = sum |x|, mean x, sum (x - mean)^2 over the sample's rows.
/// x f32 or bf16. Sums are of differences from one of the rows, in f32 over short runs of rows at most and
/// joined in double: a column far from zero keeps the digits in which its rows differ, and one of equal rows
/// has a sum of squares of zero.
void moments(Context& ctx, const Tensor& x, int64_t samples, Range columns, Tensor& moments);

/// y = as activate makes it of u, and moments [samples, 3, n] f64 = those of y [samples * seq, n]: on a GPU
/// in one read of u, y is not read again.
void activate_with_moments(Context& ctx, Activation activation, const Tensor& u, int64_t samples, Tensor& y,
                           Tensor& moments);

/// norms [rows, heads] f32 = L2 norm over head_dim of each head of o [rows, heads * head_dim].
void head_norms(Context& ctx, const Tensor& o, int64_t heads, Tensor& norms);

/// cosines [rows] f64 = cos(a_row, b_row); a, b [rows, n] of one dtype, f32 or bf16. A zero row's is 0.
void row_cosines(Context& ctx, const Tensor& a, const Tensor& b, Tensor& cosines);

}  // namespace espalier
