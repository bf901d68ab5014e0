// Sums, scalings and conversions on the CPU; contracts and checks are those of kernels/elementwise.hpp.
#pragma once

#include "kernels/elementwise.hpp"

namespace espalier::cpu {

void add(Context& ctx, const Tensor& a, const Tensor& b, Tensor& out);
void accumulate(Context& ctx, const Tensor& part, Tensor& sum);
void scale(Context& ctx, float factor, Tensor& x);
void convert(Context& ctx, const Tensor& x, Tensor& out);
void fill(Context& ctx, float value, Tensor& x);
void clear_unscored(Context& ctx, const Tensor& labels, Tensor& x);
double square_sum(Context& ctx, const Tensor& x, const FlatRuns& runs);

}  // namespace espalier::cpu
