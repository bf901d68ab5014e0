// Capped logits on the GPU; contracts and checks are those of kernels/soft_cap.hpp.
#pragma once

#include "kernels/soft_cap.hpp"

namespace espalier::cuda {

void soft_cap(Context& ctx, float cap, Tensor& z);
void soft_cap_backward(Context& ctx, float cap, const Tensor& capped, Tensor& d);

}  // namespace espalier::cuda
