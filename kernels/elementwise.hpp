// Sums, scalings, copies and conversions.
#pragma once

#include "kernels/flat_runs.hpp"

namespace espalier {

/// out = a + b; one dtype (f32 or bf16), one shape; out may be a or b.
void add(Context& ctx, const Tensor& a, const Tensor& b, Tensor& out);
/// sum += part: f32 += f32 or bf16.
void accumulate(Context& ctx, const Tensor& part, Tensor& sum);
/// x *= factor; f32 or bf16.
void scale(Context& ctx, float factor, Tensor& x);
/// out = x; one dtype (f32 or bf16), one shape.
void copy(Context& ctx, const Tensor& x, Tensor& out);
/// out = x in out's dtype (f32 or bf16), rounded to nearest even.
void convert(Context& ctx, const Tensor& x, Tensor& out);
/// x = value; f32 or bf16.
void fill(Context& ctx, float value, Tensor& x);
/// Rows of x ([rows] or [rows, n]) become 0 where the label ([rows] i32) is < 0: tokens that do not count.
void clear_unscored(Context& ctx, const Tensor& labels, Tensor& x);
/// Sum of squares of a flat buffer's runs (x [n] f32), in double; the same for the same runs and any number
/// of threads. On a device waits once.
double square_sum(Context& ctx, const Tensor& x, const FlatRuns& runs);

}  // namespace espalier
