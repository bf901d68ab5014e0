#include "kernels/cpu/soft_cap.hpp"

#include "kernels/cpu/element.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace espalier::cpu {

void soft_cap(Context& ctx, float cap, Tensor& z) {
    const int64_t count = z.size();
    const float inverse = 1.0f / cap;
    float* const values = z.data<float>();
#pragma omp parallel for simd num_threads(ctx.threads())
    for (int64_t i = 0; i < count; ++i) values[i] = cap * fast_tanh(inverse * values[i]);
}

void soft_cap_backward(Context& ctx, float cap, const Tensor& capped, Tensor& d) {
    const int64_t count = d.size();
    const float inverse = 1.0f / cap;
    const float* const values = capped.data<float>();
    visit_float(d.dtype(), [&]<class T>(T) {
        T* const out = d.data<T>();
#pragma omp parallel for simd num_threads(ctx.threads())
        for (int64_t i = 0; i < count; ++i) {
            const float t = inverse * values[i];
            store(out[i], static_cast<float>(out[i]) * (1.0f - t * t));
        }
    });
}

}  // namespace espalier::cpu
