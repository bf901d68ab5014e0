#include "kernels/cpu/rows.hpp"

#include <algorithm>
#include <cstring>

namespace espalier::cpu {

void copy_columns(Context& ctx, const Tensor& from, int64_t from_column, Tensor& to, int64_t to_column,
                  int64_t count) {
    const int64_t rows = from.dim(0), n = from.dim(1), m = to.dim(1);
    const size_t element = size_of(from.dtype());
    const std::byte* source = from.raw() + static_cast<size_t>(from_column) * element;
    std::byte* target = to.raw() + static_cast<size_t>(to_column) * element;
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t r = 0; r < rows; ++r) {
        std::memcpy(target + static_cast<size_t>(r * m) * element,
                    source + static_cast<size_t>(r * n) * element, static_cast<size_t>(count) * element);
    }
}

void gather_rows(Context& ctx, const Tensor& x, const Tensor& index, Tensor& out) {
    const int64_t n = x.dim(1);
    const int32_t* from = index.data<int32_t>();
    const size_t bytes = static_cast<size_t>(n) * size_of(x.dtype());
    ESPALIER_ASSERT(
        std::all_of(from, from + index.size(), [&](int32_t i) { return i >= 0 && i < x.dim(0); }));
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < index.size(); ++i) {
        std::memcpy(out.raw() + static_cast<size_t>(i) * bytes,
                    x.raw() + static_cast<size_t>(from[i]) * bytes, bytes);
    }
}

}  // namespace espalier::cpu
