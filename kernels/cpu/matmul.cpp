#include "kernels/cpu/matmul.hpp"

#include <algorithm>
#include <array>

#include "kernels/cpu/amx_matmul.hpp"
#include "kernels/cpu/gemm.hpp"
#include "kernels/cpu/isa.hpp"
#include "kernels/cpu/onednn_matmul.hpp"
#include "src/core/exact.hpp"

// f32 goes to dnnl_sgemm, which needs no compiled state; with AVX-512 forward products go to oneDNN's
// primitives: sgemm is slow to pack a transposed factor there (Zen 4, parts of the best rate: 512 x 1536 by
// 576 0.75 against 0.98, SmolLM2's others 0.92 against 0.97; with AVX2, and in gradients, the two are alike).
// bf16 goes to AMX tiles (amx_matmul.hpp) or to the primitives where the processor has it; elsewhere it is
// converted to f32, `block` rows of the weight at a time, so that no f32 copy of a whole vocabulary is ever
// made.

namespace espalier::cpu {
namespace {

constexpr int64_t block = 4096;

/// Output features that one f32 product works on.
int64_t block_of(DType dtype, int64_t n) {
    return dtype == DType::f32 ? std::max<int64_t>(n, 1) : block;
}

/// Rows of a tensor in f32: the tensor's own memory, or a converted copy of the columns.
struct Floats {
    Tensor memory;
    const float* data;
    int64_t stride;
    Factor factor() const { return {data, stride}; }
};

Floats floats(Context& ctx, const Tensor& x, Range columns) {
    const int64_t rows = x.dim(0), width = x.dim(1);
    if (x.dtype() == DType::f32) return {x, x.data<float>() + columns.begin, std::max<int64_t>(width, 1)};
    const int64_t count = columns.size(), stride = width;
    Tensor copy = ctx.empty({rows, count}, DType::f32);
    float* const to = copy.data<float>();
    const bfloat16* const from = x.data<bfloat16>() + columns.begin;
#pragma omp parallel for num_threads(ctx.threads())
    for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < count; ++j) to[i * count + j] = static_cast<float>(from[i * stride + j]);
    }
    return {copy, to, std::max<int64_t>(count, 1)};
}

Floats floats(Context& ctx, const Tensor& x) {
    return floats(ctx, x, {0, x.dim(1)});
}

/// Columns of a result that is being summed in f32: the tensor's own memory, or a copy to be rounded at the
/// end.
class Sum {
public:
    Sum(Context& ctx, Tensor& result, Range columns, const Tensor& bias, Store store)
        : ctx_(ctx), result_(result), columns_(columns), store_(bias ? Store::accumulate : store) {
        if (in_place()) {
            data_ = result.data<float>() + columns.begin;
            stride_ = std::max<int64_t>(result.dim(1), 1);
        } else {
            stride_ = std::max<int64_t>(columns.size(), 1);
            memory_ = ctx.empty({result.dim(0), columns.size()}, DType::f32);
            data_ = memory_.data<float>();
        }
        if (store_ == Store::accumulate) start(bias, store);
    }

    /// += a b; b is stored as `b_order` says.
    void add(Factor a, Factor b, int64_t depth, Order b_order) {
        gemm(ctx_, {result_.dim(0), columns_.size(), depth, Order::as_stored, b_order, store_}, a, b,
             {data_, stride_});
        store_ = Store::accumulate;
    }

    void finish() {
        if (in_place()) return;
        const int64_t rows = result_.dim(0), width = result_.dim(1), count = columns_.size();
        bfloat16* const to = result_.data<bfloat16>() + columns_.begin;
#pragma omp parallel for num_threads(ctx_.threads())
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < count; ++j) to[i * width + j] = bfloat16(data_[i * stride_ + j]);
        }
    }

private:
    bool in_place() const {
        return result_.dtype() == DType::f32;
    }

    /// What the product is added to: the old values, the bias, or both.
    void start(const Tensor& bias, Store store) {
        const int64_t rows = result_.dim(0), width = result_.dim(1), count = columns_.size();
        const Floats added = bias ? floats(ctx_, bias.view({1, bias.size()}), columns_) : Floats{};
        visit_float(result_.dtype(), [&]<class T>(T) {
            const T* const old = result_.data<T>() + columns_.begin;
#pragma omp parallel for num_threads(ctx_.threads())
            for (int64_t i = 0; i < rows; ++i) {
                for (int64_t j = 0; j < count; ++j) {
                    const float before =
                        store == Store::accumulate ? static_cast<float>(old[i * width + j]) : 0.0f;
                    data_[i * stride_ + j] = before + (added.data ? added.data[j] : 0.0f);
                }
            }
        });
    }

    Context& ctx_;
    Tensor& result_;
    Range columns_;
    Tensor memory_;
    float* data_ = nullptr;
    int64_t stride_ = 0;
    Store store_;  // of the next product
};

/// Whether run_native takes this product; oneDNN does not define products without terms.
bool goes_native(DType dtype, const Product& p) {
    if (p.rows == 0 || p.columns == 0 || p.depth == 0) return false;
    if (dtype == DType::bf16) return has_native_matmul(dtype);
    return p.b_order == Order::transposed && has(Isa::avx512);
}

void run_native(Context& ctx, const Product& p, const Tensor& a, const Tensor& b, const Tensor& bias,
                Tensor& c) {
    if (a.dtype() == DType::bf16 && suits_amx(p)) return amx_matmul(ctx, p, a, b, bias, c);
    ctx.resource<OneDnnMatmul>().run(p, a, b, bias, c);
}

}  // namespace

void matmul(Context& ctx, const Tensor& x, const Tensor& w, const Tensor& bias, Tensor& y, Store store) {
    const auto [m, k] = x.dims<2>();
    const int64_t n = w.dim(0);
    const Product product{m, n, k, Order::as_stored, Order::transposed, store};
    if (goes_native(x.dtype(), product)) return run_native(ctx, product, x, w, bias, y);

    const Floats left = floats(ctx, x);
    const int64_t step = block_of(x.dtype(), n);
    for (int64_t i = 0; i < n; i += step) {
        const Range some{i, std::min(i + step, n)};
        Sum sum(ctx, y, some, bias, store);
        sum.add(left.factor(), floats(ctx, w.rows(i, some.size())).factor(), k, Order::transposed);
        sum.finish();
    }
}

void matmul_backward_input(Context& ctx, const Tensor& dy, const Tensor& w, Tensor& dx, Store store) {
    const auto [m, n] = dy.dims<2>();
    const int64_t k = w.dim(1);
    const Product product{m, k, n, Order::as_stored, Order::as_stored, store};
    if (goes_native(dy.dtype(), product)) return run_native(ctx, product, dy, w, {}, dx);

    Sum sum(ctx, dx, {0, k}, {}, store);
    const int64_t step = block_of(dy.dtype(), n);
    int64_t i = 0;
    do {  // once even for n = 0, which makes dx 0
        const Range some{i, std::min(i + step, n)};
        const Floats left = floats(ctx, dy, some), right = floats(ctx, w.rows(i, some.size()));
        sum.add(left.factor(), right.factor(), some.size(), Order::as_stored);
        i = some.end;
    } while (i < n);
    sum.finish();
}

void matmul_backward_weight(Context& ctx, const Tensor& dy, const Tensor& x, Tensor& dw) {
    const auto [m, n] = dy.dims<2>();
    const int64_t k = x.dim(1);
    const Product product{n, k, m, Order::transposed, Order::as_stored, Store::accumulate};
    if (goes_native(dy.dtype(), product)) return run_native(ctx, product, dy, x, {}, dw);

    const Floats right = floats(ctx, x);
    const int64_t step = block_of(dy.dtype(), n);
    for (int64_t i = 0; i < n; i += step) {
        const Range some{i, std::min(i + step, n)};
        const Floats left = floats(ctx, dy, some);
        gemm(ctx, {some.size(), k, m, Order::transposed, Order::as_stored, Store::accumulate}, left.factor(),
             right.factor(), {dw.data<float>() + i * k, std::max<int64_t>(k, 1)});
    }
}

void bias_backward(Context& ctx, const Tensor& dy, Tensor& dbias) {
    constexpr int64_t width = 64,
                      run = 64;  // columns of a thread; rows summed in f32 before they join in double
    const auto [m, n] = dy.dims<2>();
    const int64_t rows = m, columns = n;
    visit_float(dy.dtype(), [&]<class T>(T) {
#pragma omp parallel for num_threads(ctx.threads())
        for (int64_t first = 0; first < columns; first += width) {
            const int64_t count = std::min(width, columns - first);
            std::array<double, width> total{};
            for (int64_t i = 0; i < rows; i += run) {
                std::array<float, width> sum{};
                for (int64_t r = i; r < std::min(i + run, rows); ++r) {
                    const T* const row = dy.data<T>() + r * columns + first;
#pragma omp simd
                    for (int64_t j = 0; j < count; ++j) sum[j] += static_cast<float>(row[j]);
                }
                for (int64_t j = 0; j < count; ++j) total[j] += sum[j];
            }
            float* const out = dbias.data<float>() + first;
            for (int64_t j = 0; j < count; ++j) out[j] += static_cast<float>(total[j]);
        }
    });
}

bool has_native_matmul(DType dtype) {
    if (dtype == DType::f32) return true;
    return dtype == DType::bf16 && has(Isa::avx512_bf16);
}

bool has_tiles(DType dtype) {
    return dtype == DType::bf16 && has(Isa::amx_bf16);
}

}  // namespace espalier::cpu
