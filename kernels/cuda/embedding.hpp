// Token embedding on the GPU; contracts and checks are those of kernels/embedding.hpp.
#pragma once

#include "kernels/embedding.hpp"

namespace espalier::cuda {

void embed(Context& ctx, const Tensor& ids, const Tensor& table, int64_t first_id, Tensor& out);
void embed_backward(Context& ctx, const Tensor& dout, const Tensor& ids, int64_t first_id, Tensor& dtable);

}  // namespace espalier::cuda
