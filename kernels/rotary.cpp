#include "kernels/rotary.hpp"

#include "kernels/cpu/rotary.hpp"
#include "kernels/cuda/rotary.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void rotate(Context& ctx, Tensor& x, const Tensor& cosines, const Tensor& sines, const Tensor& positions,
            int64_t heads, int64_t head_dim, Rotation rotation) {
    const auto [tokens, width] = x.dims<2>();
    const auto [longest, half] = cosines.dims<2>();
    if (heads * head_dim > width || 2 * half > head_dim) {
        throw InternalError(fmt::format("rotate: {} heads of {} with {} pairs do not fit rows of {}", heads,
                                        head_dim, half, width));
    }
    expect_here(ctx, x, "x");
    expect(ctx, cosines, {longest, half}, DType::f32, "cosines");
    expect(ctx, sines, {longest, half}, DType::f32, "sines");
    expect(ctx, positions, {tokens}, DType::i32, "positions");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::rotate(ctx, x, cosines, sines, positions, heads, head_dim, rotation);
    }
    cpu::rotate(ctx, x, cosines, sines, positions, heads, head_dim, rotation);
}

}  // namespace espalier
