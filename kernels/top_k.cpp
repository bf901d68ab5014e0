#include "kernels/top_k.hpp"

#include "kernels/cpu/top_k.hpp"
#include "kernels/cuda/top_k.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

namespace {

void expect_top_k(const Context& ctx, const Tensor& logits, const Tensor& values, const Tensor& ids) {
    const auto [rows, k] = values.dims<2>();
    expect(ctx, logits, {rows, logits.dim(1)}, DType::f32, "logits");
    expect(ctx, values, {rows, k}, DType::f32, "values");
    expect(ctx, ids, {rows, k}, DType::i32, "ids");
}

}  // namespace

void row_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids) {
    expect_top_k(ctx, logits, values, ids);
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::row_top_k(ctx, logits, first_id, values, ids);
    }
    cpu::row_top_k(ctx, logits, first_id, values, ids);
}

void add_to_top_k(Context& ctx, const Tensor& logits, int64_t first_id, Tensor& values, Tensor& ids) {
    expect_top_k(ctx, logits, values, ids);
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::add_to_top_k(ctx, logits, first_id, values, ids);
    }
    cpu::add_to_top_k(ctx, logits, first_id, values, ids);
}

void merge_top_k(Context& ctx, const Tensor& all_values, const Tensor& all_ids, Tensor& values, Tensor& ids) {
    const auto [parts, rows, k] = all_values.dims<3>();
    expect(ctx, all_values, {parts, rows, k}, DType::f32, "all_values");
    expect(ctx, all_ids, {parts, rows, k}, DType::i32, "all_ids");
    expect(ctx, values, {rows, k}, DType::f32, "values");
    expect(ctx, ids, {rows, k}, DType::i32, "ids");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::merge_top_k(ctx, all_values, all_ids, values, ids);
    }
    cpu::merge_top_k(ctx, all_values, all_ids, values, ids);
}

void pick_logits(Context& ctx, const Tensor& logits, const Tensor& ids, int64_t first_id, Tensor& picked) {
    const auto [rows, k] = ids.dims<2>();
    expect(ctx, logits, {rows, logits.dim(1)}, DType::f32, "logits");
    expect(ctx, ids, {rows, k}, DType::i32, "ids");
    expect(ctx, picked, {rows, k}, DType::f32, "picked");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::pick_logits(ctx, logits, ids, first_id, picked);
    }
    cpu::pick_logits(ctx, logits, ids, first_id, picked);
}

}  // namespace espalier
