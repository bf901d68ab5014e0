#include "kernels/adamw.hpp"

#include "kernels/cpu/adamw.hpp"
#include "kernels/cuda/adamw.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void adamw(Context& ctx, const AdamWOptions& options, const FlatRuns& runs, const Tensor& gradient,
           Tensor& master, Tensor& first, Tensor& second, Tensor& parameter) {
    if (options.step < 1) throw InternalError("adamw: steps count from 1");
    expect_flat(master, runs, "master");
    expect_shape(gradient, master.shape(), "gradient");
    expect_dtype(gradient, DType::f32, "gradient");
    expect_shape(first, master.shape(), "first");
    expect_dtype(first, DType::f32, "first");
    expect_shape(second, master.shape(), "second");
    expect_dtype(second, DType::f32, "second");
    expect_shape(parameter, master.shape(), "parameter");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::adamw(ctx, options, runs, gradient, master, first, second, parameter);
    }
    cpu::adamw(ctx, options, runs, gradient, master, first, second, parameter);
}

}  // namespace espalier
