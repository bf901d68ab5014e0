#include "kernels/top_k.hpp"

#include "src/core/error.hpp"
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

TEST(RowTopK, SaysHowManyABlockOfTheDeviceCanSort) {
    if (test_device() != Device::cuda) GTEST_SKIP() << "the CPU takes any number";
    Context ctx(on_test_device());
    const int64_t k = 40'000, n = 40'001;  // 512 KiB of keys
    const Tensor logits = ctx.zeros({1, n}, DType::f32);
    Tensor values = ctx.empty({1, k}, DType::f32), ids = ctx.empty({1, k}, DType::i32);

    EXPECT_THROW(row_top_k(ctx, logits, 0, values, ids), UserError);
}

}  // namespace
}  // namespace espalier::test
