#include "kernels/cpu/rotary.hpp"

#include "kernels/cpu/element.hpp"

namespace espalier::cpu {

void rotate(Context& ctx, Tensor& x, const Tensor& cosines, const Tensor& sines, const Tensor& positions,
            int64_t heads, int64_t head_dim, Rotation rotation) {
    const int64_t tokens = x.dim(0), width = x.dim(1), half = cosines.dim(1);
    for ([[maybe_unused]] const int32_t position : positions.span<int32_t>())
        ESPALIER_ASSERT(position >= 0 && position < cosines.dim(0));
    const float direction = rotation == Rotation::forward ? 1.0f : -1.0f;
    visit_float(x.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < tokens; ++i) {
            const int64_t position = positions.data<int32_t>()[i];
            const float* const c = cosines.data<float>() + position * half;
            const float* const s = sines.data<float>() + position * half;
            for (int64_t head = 0; head < heads; ++head) {
                T* const low = x.data<T>() + i * width + head * head_dim;
                T* const high = low + half;
#pragma omp simd
                for (int64_t j = 0; j < half; ++j) {
                    const float a = static_cast<float>(low[j]), b = static_cast<float>(high[j]);
                    const float sine = direction * s[j];
                    store(low[j], a * c[j] - b * sine);
                    store(high[j], b * c[j] + a * sine);
                }
            }
        }
    });
}

}  // namespace espalier::cpu
