#include "kernels/adamw.hpp"

#include "kernels/cpu/adamw.hpp"
#include "kernels/cuda/adamw.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void adamw(Context& ctx, const AdamWOptions& options, const FlatRuns& runs, const Tensor& gradient,
           Tensor& master, Tensor& first_moment, Tensor& second_moment, Tensor& parameter) {
    if (options.step < 1) throw InternalError("adamw: steps count from 1");
    expect_flat(ctx, master, runs, "master");
    expect(ctx, gradient, master.shape(), DType::f32, "gradient");
    expect(ctx, first_moment, master.shape(), DType::f32, "first_moment");
    expect(ctx, second_moment, master.shape(), DType::f32, "second_moment");
    expect(ctx, parameter, master.shape(), "parameter");
    if constexpr (has_cuda) {
        if (ctx.on_gpu())
            return cuda::adamw(ctx, options, runs, gradient, master, first_moment, second_moment, parameter);
    }
    cpu::adamw(ctx, options, runs, gradient, master, first_moment, second_moment, parameter);
}

}  // namespace espalier
