#include "kernels/cpu/elementwise.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/element.hpp"
#include "src/core/exact.hpp"

namespace espalier::cpu {
namespace {

/// Elements whose squares are summed on their own, in a fixed order, whatever the threads.
constexpr int64_t sum_block = 32768;

}  // namespace

void add(Context& ctx, const Tensor& a, const Tensor& b, Tensor& out) {
    const int64_t count = out.size();
    visit_float(out.dtype(), [&]<class T>(T) {
        const T* const left = a.data<T>();
        const T* const right = b.data<T>();
        T* const to = out.data<T>();
#pragma omp parallel for simd num_threads(ctx.threads())
        for (int64_t i = 0; i < count; ++i) {
            store(to[i], static_cast<float>(left[i]) + static_cast<float>(right[i]));
        }
    });
}

void accumulate(Context& ctx, const Tensor& part, Tensor& sum) {
    const int64_t count = sum.size();
    visit_float(part.dtype(), [&]<class T>(T) {
        const T* const from = part.data<T>();
        float* const to = sum.data<float>();
#pragma omp parallel for simd num_threads(ctx.threads())
        for (int64_t i = 0; i < count; ++i) to[i] += static_cast<float>(from[i]);
    });
}

void scale(Context& ctx, float factor, Tensor& x) {
    const int64_t count = x.size();
    visit_float(x.dtype(), [&]<class T>(T) {
        T* const values = x.data<T>();
#pragma omp parallel for simd num_threads(ctx.threads())
        for (int64_t i = 0; i < count; ++i) store(values[i], factor * static_cast<float>(values[i]));
    });
}

void convert(Context& ctx, const Tensor& x, Tensor& out) {
    const int64_t count = out.size();
    visit_float(x.dtype(), [&]<class From>(From) {
        visit_float(out.dtype(), [&]<class To>(To) {
            const From* const from = x.data<From>();
            To* const to = out.data<To>();
#pragma omp parallel for simd num_threads(ctx.threads())
            for (int64_t i = 0; i < count; ++i) store(to[i], static_cast<float>(from[i]));
        });
    });
}

void fill(Context& ctx, float value, Tensor& x) {
    const int64_t count = x.size();
    visit_float(x.dtype(), [&]<class T>(T) {
        T* const values = x.data<T>();
#pragma omp parallel for simd num_threads(ctx.threads())
        for (int64_t i = 0; i < count; ++i) store(values[i], value);
    });
}

void clear_unscored(Context& ctx, const Tensor& labels, Tensor& x) {
    const int64_t rows = labels.size();
    if (rows == 0) return;
    const size_t row_bytes = x.bytes() / static_cast<size_t>(rows);
    const int32_t* const label = labels.data<int32_t>();
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        if (label[i] < 0) std::memset(x.raw() + static_cast<size_t>(i) * row_bytes, 0, row_bytes);
    }
}

namespace {

double square_sum(Context& ctx, const float* values, int64_t count) {
    std::vector<double> sums(static_cast<size_t>(div_ceil(count, sum_block)));
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t begin = 0; begin < count; begin += sum_block) {
        const int64_t end = std::min(count, begin + sum_block);
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = begin; i < end; ++i) sum += double{values[i]} * double{values[i]};
        sums[static_cast<size_t>(begin / sum_block)] = sum;
    }
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
}

}  // namespace

double square_sum(Context& ctx, const Tensor& x, const FlatRuns& runs) {
    double total = 0;
    for (const FlatRun& run : runs.runs()) total += square_sum(ctx, x.data<float>() + run.begin, run.size);
    return total;
}

}  // namespace espalier::cpu
