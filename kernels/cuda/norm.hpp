// Rows normalised on the GPU; contracts and checks are those of kernels/norm.hpp.
#pragma once

#include "kernels/norm.hpp"

namespace espalier::cuda {

void norm(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias, NormOptions options,
          Tensor& y, Tensor& stats);
void add_norm(Context& ctx, const Tensor& x, const Tensor& r, const Tensor& weight, const Tensor& bias,
              NormOptions options, Tensor& sum, Tensor& y, Tensor& stats);
void norm_backward(Context& ctx, const Tensor& dy, const Tensor& x, const Tensor& weight, const Tensor& stats,
                   NormOptions options, Tensor& dx, Tensor& dweight, Tensor& dbias);

}  // namespace espalier::cuda
