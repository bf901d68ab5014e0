#include <omp.h>

#include "kernels/cpu/attention.hpp"
#include "kernels/cpu/attention_blocks.hpp"
#include "kernels/cpu/vector_math.hpp"

namespace espalier::cpu {
namespace {

/// s [0, count) = softmax(s).
void softmax(float* s, int64_t count) {
    const float max = *std::max_element(s, s + count);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < count; ++k) {
        s[k] = fast_exp_flushed(s[k] - max);
        sum += s[k];
    }
#pragma omp simd
    for (int64_t k = 0; k < count; ++k) s[k] /= sum;
}

/// o [head_dim] = attention of q over `count` keys and values, whose rows are `stride` apart.
template <class T>
void attend(const AttentionShape& shape, const T* q, const T* keys, const T* values, int64_t stride,
            int64_t count, float* scores, float* sum, T* o) {
    const int64_t n = shape.head_dim;
    for (int64_t k = 0; k < count; ++k) {
        const T* const key = keys + k * stride;
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t d = 0; d < n; ++d) dot += static_cast<float>(q[d]) * static_cast<float>(key[d]);
        scores[k] = shape.scale * dot;
    }
    if (shape.soft_cap > 0) {
        for (int64_t k = 0; k < count; ++k)
            scores[k] = shape.soft_cap * fast_tanh(scores[k] / shape.soft_cap);
    }
    softmax(scores, count);
    std::fill_n(sum, n, 0.0f);
    for (int64_t k = 0; k < count; ++k) {
        const T* const value = values + k * stride;
#pragma omp simd
        for (int64_t d = 0; d < n; ++d) sum[d] += scores[k] * static_cast<float>(value[d]);
    }
    for (int64_t d = 0; d < n; ++d) o[d] = T(sum[d]);
}

}  // namespace

void attention_cached(Context& ctx, const Tensor& q, const Tensor& keys, const Tensor& values, int64_t length,
                      const AttentionShape& shape, Tensor& o) {
    const int64_t hd = shape.head_dim, heads = shape.query_heads, stride = shape.kv_heads * hd;
    const Tensor memory = ctx.empty({ctx.threads(), length + hd}, DType::f32);
    const View view{length, shape.window, nullptr};

    visit_float(q.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < shape.seq * heads; ++i) {
            const int64_t token = i / heads, h = i % heads;
            const Range seen = seen_by(view, length - shape.seq + token, {0, length});
            const int64_t first = seen.begin * stride + kv_head_of(shape, h) * hd;
            float* const scores = memory.data<float>() + omp_get_thread_num() * memory.dim(1);
            attend(shape, q.data<T>() + i * hd, keys.data<T>() + first, values.data<T>() + first, stride,
                   seen.size(), scores, scores + length, o.data<T>() + i * hd);
        }
    });
}

}  // namespace espalier::cpu
