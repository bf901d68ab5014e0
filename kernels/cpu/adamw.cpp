#include "kernels/cpu/adamw.hpp"

#include <cmath>

#include "kernels/cpu/element.hpp"

namespace espalier::cpu {

void adamw(Context& ctx, const AdamWOptions& options, const FlatRuns& runs, const Tensor& gradient,
           Tensor& master, Tensor& first_moment, Tensor& second_moment, Tensor& parameter) {
    const auto step = static_cast<double>(options.step);
    const auto correction1 = static_cast<float>(1.0 / (1.0 - std::pow(double{options.beta1}, step)));
    const auto correction2 = static_cast<float>(1.0 / (1.0 - std::pow(double{options.beta2}, step)));
    const float b1 = options.beta1, b2 = options.beta2, eps = options.eps, scale = options.gradient_scale;
    const float rate = options.learning_rate;

    const float* const g = gradient.data<float>();
    float* const w = master.data<float>();
    float* const m = first_moment.data<float>();
    float* const v = second_moment.data<float>();
    visit_float(parameter.dtype(), [&]<class T>(T) {
        T* const p = parameter.data<T>();
        for (const FlatRun& run : runs.runs()) {
            const float decay = rate * (options.weight_decay * run.weight_decay_factor);
            const int64_t end = run.begin + run.size;
#pragma omp parallel for simd num_threads(ctx.threads())
            for (int64_t i = run.begin; i < end; ++i) {
                const float grad = scale * g[i];
                m[i] = b1 * m[i] + (1.0f - b1) * grad;
                v[i] = b2 * v[i] + (1.0f - b2) * grad * grad;
                const float decayed = w[i] - decay * w[i];
                w[i] = decayed - rate * (m[i] * correction1) / (std::sqrt(v[i] * correction2) + eps);
                store(p[i], w[i]);
            }
        }
    });
}

}  // namespace espalier::cpu
