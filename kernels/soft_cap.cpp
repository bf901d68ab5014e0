#include "kernels/soft_cap.hpp"

#include "kernels/cpu/soft_cap.hpp"
#include "kernels/cuda/soft_cap.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

void expect_cap(float cap) {
    if (!(cap > 0)) throw InternalError(fmt::format("soft_cap: {} is no cap", cap));
}

}  // namespace

void soft_cap(Context& ctx, float cap, Tensor& z) {
    expect_cap(cap);
    expect(ctx, z, z.shape(), DType::f32, "z");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::soft_cap(ctx, cap, z);
    }
    cpu::soft_cap(ctx, cap, z);
}

void soft_cap_backward(Context& ctx, float cap, const Tensor& capped, Tensor& d) {
    expect_cap(cap);
    expect(ctx, capped, d.shape(), DType::f32, "capped");
    expect_here(ctx, d, "d");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::soft_cap_backward(ctx, cap, capped, d);
    }
    cpu::soft_cap_backward(ctx, cap, capped, d);
}

}  // namespace espalier
