#include "kernels/top_k.hpp"

#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

TEST(RowTopK, TakesTheLowerIdOfATieAndSaysWhatIsMissing) {
    Context ctx(on_test_device());
    Tensor values = ctx.empty({1, 3}, DType::f32), ids = ctx.empty({1, 3}, DType::i32);

    row_top_k(ctx, tensor_of(ctx, {1, 7, 3, 7}, {1, 4}, DType::f32), 100, values, ids);
    EXPECT_EQ(values_of(ids), (Values{101, 103, 102}));

    row_top_k(ctx, tensor_of(ctx, {2}, {1, 1}, DType::f32), 100, values, ids);
    EXPECT_EQ(values_of(ids), (Values{100, -1, -1}));
}

}  // namespace
}  // namespace espalier::test
