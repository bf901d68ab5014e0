// What a matrix product is to the libraries that compute it.
#pragma once

#include <compare>

#include "kernels/matmul.hpp"

namespace espalier::detail {

enum class Order { as_stored, transposed };

/// c [rows, columns] = or += a [rows, depth] b [depth, columns] of row-major matrices.
struct Product {
    int64_t rows, columns, depth;
    Order a_order;  ///< transposed: a is stored as [depth, rows]
    Order b_order;  ///< transposed: b is stored as [columns, depth]
    Store store;
    auto operator<=>(const Product&) const = default;
};

}  // namespace espalier::detail
