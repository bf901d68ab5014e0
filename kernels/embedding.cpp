#include "kernels/embedding.hpp"

#include "kernels/cpu/embedding.hpp"
#include "kernels/cuda/embedding.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {

void embed(Context& ctx, const Tensor& ids, const Tensor& table, int64_t first_id, Tensor& out) {
    const auto [tokens] = ids.dims<1>();
    const auto [vocab, n] = table.dims<2>();
    expect(ctx, ids, {tokens}, DType::i32, "ids");
    expect_here(ctx, table, "table");
    expect(ctx, out, {tokens, n}, table.dtype(), "out");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::embed(ctx, ids, table, first_id, out);
    }
    cpu::embed(ctx, ids, table, first_id, out);
}

void embed_backward(Context& ctx, const Tensor& dout, const Tensor& ids, int64_t first_id, Tensor& dtable) {
    const auto [tokens] = ids.dims<1>();
    const auto [vocab, n] = dtable.dims<2>();
    expect(ctx, ids, {tokens}, DType::i32, "ids");
    expect(ctx, dout, {tokens, n}, "dout");
    expect(ctx, dtable, {vocab, n}, DType::f32, "dtable");
    if constexpr (has_cuda) {
        if (ctx.on_gpu()) return cuda::embed_backward(ctx, dout, ids, first_id, dtable);
    }
    cpu::embed_backward(ctx, dout, ids, first_id, dtable);
}

}  // namespace espalier
