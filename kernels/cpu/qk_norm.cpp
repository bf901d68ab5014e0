#include "kernels/cpu/qk_norm.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/element.hpp"
#include "src/core/exact.hpp"

namespace espalier::cpu {
namespace {

/// Tokens whose share of the weights' gradients is summed on its own: the result does not depend on the
/// threads.
constexpr int64_t tokens_per_block = 64;

template <class T>
float reciprocal_root(const T* x, int64_t n, float eps) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < n; ++j) {
        const float v = static_cast<float>(x[j]);
        squares += v * v;
    }
    return static_cast<float>(1.0 / std::sqrt(double{squares} / static_cast<double>(n) + double{eps}));
}

template <class T>
void forward_head(const T* x, const T* weight, int64_t n, float rstd, T* y) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j)
        store(y[j], static_cast<float>(x[j]) * rstd * static_cast<float>(weight[j]));
}

/// d = the gradient of x, dweight +=.
template <class T>
void backward_head(const T* x, const T* weight, int64_t n, float rstd, T* d, float* dweight) {
    float sum = 0;  // the gradient of the normalised head, on the head itself
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; ++j)
        sum += static_cast<float>(d[j]) * static_cast<float>(weight[j]) * (static_cast<float>(x[j]) * rstd);
    const float projection = sum / static_cast<float>(n);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
        const float normal = static_cast<float>(x[j]) * rstd, dy = static_cast<float>(d[j]);
        dweight[j] += dy * normal;
        store(d[j], rstd * (dy * static_cast<float>(weight[j]) - normal * projection));
    }
}

}  // namespace

void qk_norm(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
             HeadCounts heads, float eps, Tensor& y, Tensor& rstd) {
    const int64_t tokens = x.dim(0), width = x.dim(1), n = query_weight.dim(0);
    visit_float(x.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t i = 0; i < tokens; ++i) {
            const T* const in = x.data<T>() + i * width;
            T* const out = y.data<T>() + i * width;
            for (int64_t h = 0; h < heads.normed(); ++h) {
                const Tensor& weight = h < heads.query ? query_weight : key_weight;
                const float factor = reciprocal_root(in + h * n, n, eps);
                rstd.data<float>()[i * heads.normed() + h] = factor;
                forward_head(in + h * n, weight.data<T>(), n, factor, out + h * n);
            }
            if (out != in) std::copy(in + heads.normed() * n, in + width, out + heads.normed() * n);
        }
    });
}

void qk_norm_backward(Context& ctx, const Tensor& x, const Tensor& query_weight, const Tensor& key_weight,
                      HeadCounts heads, const Tensor& rstd, Tensor& d, Tensor& d_query_weight,
                      Tensor& d_key_weight) {
    const int64_t tokens = x.dim(0), width = x.dim(1), n = query_weight.dim(0);
    const int64_t blocks = div_ceil(tokens, tokens_per_block);
    const Tensor partial = ctx.zeros({blocks, 2, n}, DType::f32);
    visit_float(x.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t block = 0; block < blocks; ++block) {
            float* const parts = partial.data<float>() + 2 * block * n;
            const int64_t end = std::min(tokens, (block + 1) * tokens_per_block);
            for (int64_t i = block * tokens_per_block; i < end; ++i) {
                for (int64_t h = 0; h < heads.normed(); ++h) {
                    const bool query = h < heads.query;
                    backward_head(x.data<T>() + i * width + h * n,
                                  (query ? query_weight : key_weight).data<T>(), n,
                                  rstd.data<float>()[i * heads.normed() + h], d.data<T>() + i * width + h * n,
                                  parts + (query ? 0 : n));
                }
            }
        }
    });
    for (int64_t block = 0; block < blocks; ++block) {
        const float* const parts = partial.data<float>() + 2 * block * n;
        for (int64_t j = 0; j < n; ++j) {
            d_query_weight.data<float>()[j] += parts[j];
            d_key_weight.data<float>()[j] += parts[n + j];
        }
    }
}

}  // namespace espalier::cpu
