#include "kernels/embedding.hpp"

#include "kernels/cpu/embedding.hpp"

namespace espalier {

void embed(Context& ctx, const Tensor& ids, const Tensor& table, int64_t first_id, Tensor& out) {
    const auto [tokens] = ids.dims<1>();
    const auto [vocab, n] = table.dims<2>();
    expect_dtype(ids, DType::i32, "ids");
    expect_shape(out, {tokens, n}, "out");
    expect_dtype(out, table.dtype(), "out");
    cpu::embed(ctx, ids, table, first_id, out);
}

void embed_backward(Context& ctx, const Tensor& dout, const Tensor& ids, int64_t first_id, Tensor& dtable) {
    const auto [tokens] = ids.dims<1>();
    const auto [vocab, n] = dtable.dims<2>();
    expect_dtype(ids, DType::i32, "ids");
    expect_shape(dout, {tokens, n}, "dout");
    expect_dtype(dtable, DType::f32, "dtable");
    cpu::embed_backward(ctx, dout, ids, first_id, dtable);
}

}  // namespace espalier
