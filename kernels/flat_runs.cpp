#include "kernels/flat_runs.hpp"

#include <algorithm>

#include "kernels/cuda/flat_runs.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

FlatRuns::FlatRuns(Context& ctx, std::vector<FlatRun> runs) : runs_(std::move(runs)) {
    for (const FlatRun& run : runs_) {
        if (run.begin < 0 || run.size < 0)
            throw InternalError(fmt::format("a run of {} elements from {}", run.size, run.begin));
        end_ = std::max(end_, run.begin + run.size);
    }
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) on_device_ = cuda::chunk_table(ctx, runs_);
    }
}

void expect_flat(const Context& ctx, const Tensor& x, const FlatRuns& runs, const char* what) {
    const auto [size] = x.dims<1>();
    expect(ctx, x, {size}, DType::f32, what);
    if (size < runs.end())
        throw InternalError(fmt::format("{}: {} elements; the runs end at {}", what, size, runs.end()));
}

}  // namespace espalier
