#include "kernels/rows.hpp"

#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

TEST(CopyColumns, MovesABandAndLeavesTheRest) {
    for (const DType dtype : float_types) {
        Context ctx(on_test_device(2));
        const Tensor from = tensor_of(ctx, {1, 2, 3, 4, 5, 6}, {2, 3}, dtype);
        Tensor to = tensor_of(ctx, Values(8, 9), {2, 4}, dtype);

        copy_columns(ctx, from, 1, to, 2, 2);

        EXPECT_EQ(values_of(to), (Values{9, 9, 2, 3, 9, 9, 5, 6}));
    }
}

TEST(GatherRows, TakesRowsInTheOrderOfTheIndexAndMayRepeatThem) {
    for (const DType dtype : float_types) {
        Context ctx(on_test_device(2));
        const Tensor x = tensor_of(ctx, {1, 2, 3, 4, 5, 6}, {3, 2}, dtype);
        const Tensor index = tensor_of(ctx, {2, 0, 2}, {3}, DType::i32);
        Tensor out = ctx.empty({3, 2}, dtype);

        gather_rows(ctx, x, index, out);

        EXPECT_EQ(values_of(out), (Values{5, 6, 1, 2, 5, 6}));
    }
}

}  // namespace
}  // namespace espalier::test
