#include "kernels/adamw.hpp"

#include "kernels/cpu/adamw.hpp"
#include "kernels/cuda/adamw.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void adamw(Context& ctx, const AdamWOptions& options, const Tensor& gradient, Tensor& master, Tensor& first,
           Tensor& second, Tensor& parameter) {
    const auto [n] = master.dims<1>();
    if (options.step < 1) throw InternalError("adamw: steps count from 1");
    expect_dtype(master, DType::f32, "master");
    expect_shape(gradient, {n}, "gradient");
    expect_dtype(gradient, DType::f32, "gradient");
    expect_shape(first, {n}, "first");
    expect_dtype(first, DType::f32, "first");
    expect_shape(second, {n}, "second");
    expect_dtype(second, DType::f32, "second");
    expect_shape(parameter, {n}, "parameter");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::adamw(ctx, options, gradient, master, first, second, parameter);
    }
    cpu::adamw(ctx, options, gradient, master, first, second, parameter);
}

}  // namespace espalier
