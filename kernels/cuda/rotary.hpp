// Rotary embedding on the GPU; contracts and checks are those of kernels/rotary.hpp.
#pragma once

#include "kernels/rotary.hpp"

namespace espalier::cuda {

void rotate(Context& ctx, Tensor& x, const Tensor& cosines, const Tensor& sines, const Tensor& positions,
            int64_t heads, int64_t head_dim, Rotation rotation);

}  // namespace espalier::cuda
