// Moving rows and columns.
#pragma once

#include "src/core/context.hpp"

namespace espalier {

/// to[:, to_column .. to_column + count) = from[:, from_column .. from_column + count); same rows, same
/// dtype.
void copy_columns(Context& ctx, const Tensor& from, int64_t from_column, Tensor& to, int64_t to_column,
                  int64_t count);

/// out [n, columns] = rows `index` ([n] i32, each inside) of x [rows, columns], in x's dtype.
void gather_rows(Context& ctx, const Tensor& x, const Tensor& index, Tensor& out);

}  // namespace espalier
