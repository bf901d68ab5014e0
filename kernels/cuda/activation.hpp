// The MLP's nonlinearity on the GPU; contracts and checks are those of kernels/activation.hpp.
#pragma once

#include "kernels/activation.hpp"

namespace espalier::cuda {

void activate(Context& ctx, Activation activation, const Tensor& u, Tensor& y);
void activate_backward(Context& ctx, Activation activation, const Tensor& dy, const Tensor& u, Tensor& du);

}  // namespace espalier::cuda
