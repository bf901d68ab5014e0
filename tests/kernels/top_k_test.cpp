#include "kernels/top_k.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "src/core/error.hpp"
#include "tests/kernels/op_test.hpp"
#include "tests/kernels/split_vocabulary.hpp"

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

/// The ids of the k largest, the lower first where they are equal.
Values best_ids(const Values& row, int64_t k) {
    Values ids(row.size());
    std::iota(ids.begin(), ids.end(), 0.0);
    const auto value = [&](double id) { return row[static_cast<size_t>(id)]; };
    std::stable_sort(ids.begin(), ids.end(), [&](double x, double y) { return value(x) > value(y); });
    ids.resize(std::min(ids.size(), static_cast<size_t>(k)));
    return ids;
}

TEST(RowTopK, OfPartsOneAfterAnotherIsThatOfTheWhole) {
    constexpr int64_t n = 3000;
    const Values smooth = rounded_to(DType::f32, random_values(n, 1));
    Values equal = smooth, rising = smooth;
    for (double& z : equal) z = std::round(2 * z);
    equal[17] = -std::numeric_limits<double>::infinity();
    std::sort(rising.begin(), rising.end());  // every logit is the best so far
    Context ctx(on_test_device(2));
    for (const Values& row : {smooth, equal, rising}) {
        for (const int64_t k : {1, 7, 100, 900}) {
            Tensor values = ctx.empty({1, k}, DType::f32), ids = ctx.empty({1, k}, DType::i32);
            const auto part = [&](int64_t begin, int64_t end) { return columns(ctx, row, 1, n, begin, end); };

            row_top_k(ctx, part(0, 5), 0, values, ids);
            for (const auto& [begin, end] : {std::pair{5, 1200}, {1200, 1200}, {1200, 3000}})
                add_to_top_k(ctx, part(begin, end), begin, values, ids);

            const Values expected = best_ids(row, k);
            EXPECT_EQ(values_of(ids), expected) << "k = " << k;
            Values logits;
            for (const double id : expected) logits.push_back(row[static_cast<size_t>(id)]);
            EXPECT_EQ(values_of(values), logits) << "k = " << k;
            row_top_k(ctx, part(0, n), 0, values, ids);
            EXPECT_EQ(values_of(ids), expected) << "k = " << k << ", at once";
        }
    }
}

TEST(RowTopK, OfPartsThatAreFewerSaysWhatIsMissing) {
    Context ctx(on_test_device());
    Tensor values = ctx.empty({1, 4}, DType::f32), ids = ctx.empty({1, 4}, DType::i32);

    row_top_k(ctx, tensor_of(ctx, {3, 9}, {1, 2}, DType::f32), 100, values, ids);
    add_to_top_k(ctx, tensor_of(ctx, {5}, {1, 1}, DType::f32), 102, values, ids);

    EXPECT_EQ(values_of(ids), (Values{101, 102, 100, -1}));
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
