// Rows and columns on the GPU; contracts and checks are those of kernels/rows.hpp.
#pragma once

#include "src/core/context.hpp"

namespace espalier::cuda {

void copy_columns(Context& ctx, const Tensor& from, int64_t from_column, Tensor& to, int64_t to_column,
                  int64_t count);
void gather_rows(Context& ctx, const Tensor& x, const Tensor& index, Tensor& out);

}  // namespace espalier::cuda
