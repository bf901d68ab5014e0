#include "kernels/cpu/embedding.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/vocabulary_part.hpp"
#include "src/core/exact.hpp"

namespace espalier::cpu {
namespace {

constexpr int64_t cache_line_floats = 16;

}  // namespace

void embed(Context& ctx, const Tensor& ids, const Tensor& table, int64_t first_id, Tensor& out) {
    const int64_t tokens = ids.dim(0), vocab = table.dim(0);
    const size_t row_bytes = static_cast<size_t>(table.dim(1)) * size_of(table.dtype());
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < tokens; ++i) {
        const int64_t row = column_of(ids.data<int32_t>()[i], first_id, vocab);
        std::byte* const to = out.raw() + static_cast<size_t>(i) * row_bytes;
        if (row >= 0) {
            std::memcpy(to, table.raw() + static_cast<size_t>(row) * row_bytes, row_bytes);
        } else {
            std::memset(to, 0, row_bytes);
        }
    }
}

// A thread owns columns, not tokens: every element is summed in the order of the tokens by one thread.
void embed_backward(Context& ctx, const Tensor& dout, const Tensor& ids, int64_t first_id, Tensor& dtable) {
    const int64_t tokens = ids.dim(0), vocab = dtable.dim(0), n = dtable.dim(1);
    const int64_t lines = div_ceil(n, cache_line_floats), threads = ctx.threads();
    visit_float(dout.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t part = 0; part < threads; ++part) {
            const auto owned = split_evenly(lines, threads, part);
            const int64_t begin = owned.begin * cache_line_floats;
            const int64_t end = std::min(n, owned.end * cache_line_floats);
            for (int64_t i = 0; i < tokens; ++i) {
                const int64_t row = column_of(ids.data<int32_t>()[i], first_id, vocab);
                if (row < 0) continue;
                const T* const d = dout.data<T>() + i * n;
                float* const sum = dtable.data<float>() + row * n;
#pragma omp simd
                for (int64_t j = begin; j < end; ++j) sum[j] += static_cast<float>(d[j]);
            }
        }
    });
}

}  // namespace espalier::cpu
