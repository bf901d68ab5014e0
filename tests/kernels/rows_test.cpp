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

/// As many elements as a vector, more, fewer; at places where a vector begins and where none does.
TEST(CopyColumns, MovesBandsOfAnyWidthAndPlace) {
    for (const DType dtype : float_types) {
        Context ctx(on_test_device(2));
        for (const auto& [from_column, to_column, columns] :
             {std::array{8, 16, 1032}, std::array{4, 8, 12}, std::array{3, 5, 1029}, std::array{8, 8, 1}}) {
            const Values x = rounded_to(dtype, random_values(3 * 1048, 1));
            Tensor to = tensor_of(ctx, Values(3 * 1064, 9), {3, 1064}, dtype);

            copy_columns(ctx, tensor_of(ctx, x, {3, 1048}, dtype), from_column, to, to_column, columns);

            Values expected(3 * 1064, 9);
            for (int64_t row = 0; row < 3; ++row) {
                std::copy_n(x.begin() + row * 1048 + from_column, columns,
                            expected.begin() + row * 1064 + to_column);
            }
            EXPECT_EQ(values_of(to), expected);
        }
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
