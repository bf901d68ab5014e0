#include "kernels/attention.hpp"

#include <cmath>

#include "kernels/cpu/attention.hpp"
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/attention_cudnn.hpp"
#include "kernels/reference/attention.hpp"
#include "src/core/has_cuda.hpp"
#include "tests/kernels/attention_cases.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

/// Whether attention on the test's device asks cuDNN before our own kernels.
bool asks_cudnn() {
    if constexpr (has_cuda) return test_device() == Device::cuda && cuda::cudnn::linked();
    return false;
}

/// Who computes a case: whom attention chooses; and where that may be cuDNN, our own kernels beside it.
enum class By { choice, own_kernels };
std::vector<By> all_who_compute() {
    if (asks_cudnn()) return {By::choice, By::own_kernels};
    return {By::choice};
}

using AttentionParameter = std::tuple<AttentionCase, DType, By>;
constexpr auto attention_name = [](const auto& info) {
    const auto& [c, dtype, by] = info.param;
    return name_of(std::tuple(c, dtype)) + (by == By::own_kernels ? "_own_kernels" : "");
};

class Attention : public testing::TestWithParam<AttentionParameter> {
protected:
    void forward(const Tensor& qkv, Tensor& o, Tensor& lse) {
        if constexpr (has_cuda) {
            if (by_ == By::own_kernels) return cuda::own_attention(ctx_, qkv, starts(), shape_, o, lse);
        }
        attention(ctx_, qkv, starts(), shape_, o, lse);
    }
    void backward(const Tensor& d_o, const Tensor& qkv, const Tensor& o, const Tensor& lse, Tensor& dqkv) {
        if constexpr (has_cuda) {
            if (by_ == By::own_kernels) {
                return cuda::own_attention_backward(ctx_, d_o, qkv, starts(), o, lse, shape_, dqkv);
            }
        }
        attention_backward(ctx_, d_o, qkv, starts(), o, lse, shape_, dqkv);
    }

    Tensor tensor(const Values& values, Shape shape) {
        return tensor_of(ctx_, values, std::move(shape), dtype_);
    }

    /// What products in bf16 add: they take probabilities and their gradients rounded to it, which is 2^-9 of
    /// each term of a sum as a rule and twice that at most, however small the sum; cuDNN's sums come that
    /// far. Terms are `terms` deviations of the inputs large.
    Tolerance with_rounded_terms(Tolerance tolerance, double terms) const {
        const bool by_cudnn = by_ == By::choice && asks_cudnn();
        const bool on_gpu = test_device() == Device::cuda;
        const int64_t dims = by_cudnn ? 8 : on_gpu ? 16 : 1;  // whose multiples they take
        const bool rounds = dtype_ == DType::bf16 && shape_.head_dim % dims == 0;
        if (rounds) tolerance.absolute += terms * (by_cudnn ? 0x1p-8 : 0x1p-9);
        return tolerance;
    }

    /// Empty where there are no documents.
    Tensor starts() {
        if (starts_.empty()) return {};
        return tensor_of(ctx_, Values(starts_.begin(), starts_.end()), {tokens_}, DType::i32);
    }

    AttentionShape shape_ = std::get<0>(GetParam()).shape;
    std::vector<int32_t> starts_ = starts_of(std::get<0>(GetParam()));
    DType dtype_ = std::get<1>(GetParam());
    By by_ = std::get<2>(GetParam());
    int64_t tokens_ = shape_.batch * shape_.seq, width_ = shape_.query_heads * shape_.head_dim;
    Values qkv_ = rounded_to(dtype_, random_values(tokens_* qkv_columns(shape_), 1));
    Values d_o_ = rounded_to(dtype_, random_values(tokens_* width_, 2));
    Context ctx_{on_test_device(2)};
};

TEST_P(Attention, MatchesReference) {
    Tensor o = ctx_.empty({tokens_, width_}, dtype_);
    Tensor lse = ctx_.empty({shape_.batch, shape_.query_heads, shape_.seq}, DType::f32);

    forward(tensor(qkv_, {tokens_, qkv_columns(shape_)}), o, lse);

    const auto expected = reference::attention(qkv_, shape_, starts_);
    EXPECT_TRUE(near_all(o, expected.o, with_rounded_terms(tolerance(test_device(), dtype_), 2)));
    EXPECT_TRUE(near_all(lse, expected.lse, tolerance(test_device(), DType::f32)));
}

TEST_P(Attention, BackwardMatchesReference) {
    const Tensor qkv = tensor(qkv_, {tokens_, qkv_columns(shape_)});
    Tensor o = ctx_.empty({tokens_, width_}, dtype_), dqkv = ctx_.empty(qkv.shape(), dtype_);
    Tensor lse = ctx_.empty({shape_.batch, shape_.query_heads, shape_.seq}, DType::f32);
    forward(qkv, o, lse);

    backward(tensor(d_o_, {tokens_, width_}), qkv, o, lse, dqkv);

    const auto expected = reference::attention_backward(d_o_, qkv_, values_of(o), shape_, starts_);
    // Four sums follow each other: scores, the gradient of p, that less its mean, and the gradients
    // themselves.
    EXPECT_TRUE(near_all(dqkv, expected, with_rounded_terms(tolerance(test_device(), dtype_).times(4), 4)));
}

class AttentionReference : public Attention {};

TEST_P(AttentionReference, GradientIsAFiniteDifference) {
    const auto o = reference::attention(qkv_, shape_, starts_).o;
    const auto dqkv = reference::attention_backward(d_o_, qkv_, o, shape_, starts_);

    const auto loss = [&](const Values& qkv) {
        return inner_product(d_o_, reference::attention(qkv, shape_, starts_).o);
    };
    EXPECT_TRUE(near_all(dqkv, numeric_gradient(loss, qkv_), numeric_tolerance));
}

/// What documents mean: each by itself gives the same.
class AttentionReferenceOfDocuments : public Attention {};

TEST_P(AttentionReferenceOfDocuments, IsThatOfEachAlone) {
    const auto together = reference::attention(qkv_, shape_, starts_);
    const auto d_together = reference::attention_backward(d_o_, qkv_, together.o, shape_, starts_);
    const auto rows = [](const Values& all, int64_t first, int64_t count, int64_t width) {
        return Values(all.begin() + first * width, all.begin() + (first + count) * width);
    };

    for (int64_t first = 0, end = 0; first < std::ssize(starts_); first = end) {
        const bool whole = starts_[static_cast<size_t>(first)] == first % shape_.seq;
        ASSERT_TRUE(whole) << "documents of the table are wrong at token " << first;
        for (end = first + 1; end < std::ssize(starts_) && end % shape_.seq != 0; ++end) {
            if (starts_[static_cast<size_t>(end)] != first % shape_.seq) break;
        }
        AttentionShape one = shape_;
        one.batch = 1;
        one.seq = end - first;
        const auto qkv = rows(qkv_, first, one.seq, qkv_columns(shape_));
        const auto alone = reference::attention(qkv, one);
        const auto d_o = rows(d_o_, first, one.seq, width_);
        EXPECT_TRUE(near_all(rows(together.o, first, one.seq, width_), alone.o, {1e-12, 0}));
        EXPECT_TRUE(near_all(rows(d_together, first, one.seq, qkv_columns(shape_)),
                             reference::attention_backward(d_o, qkv, alone.o, one), {1e-12, 0}));
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, Attention,
                         testing::Combine(testing::ValuesIn(attention_cases), testing::ValuesIn(float_types),
                                          testing::ValuesIn(all_who_compute())),
                         attention_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, AttentionReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, attention_cases)),
                                          testing::Values(DType::f32), testing::Values(By::choice)),
                         attention_name);
INSTANTIATE_TEST_SUITE_P(Cases, AttentionReferenceOfDocuments,
                         testing::Combine(testing::ValuesIn(cases_of_documents()),
                                          testing::Values(DType::f32), testing::Values(By::choice)),
                         attention_name);

TEST(AttentionByHand, WeighsTheValuesOfTheVisibleKeys) {
    Context ctx(on_test_device());
    AttentionShape shape = attention_shape(1, 2, 1, 1, 1, 1);
    shape.scale = 1.0f;
    const double log3 = std::log(3.0);
    const Tensor qkv = tensor_of(ctx, {5, 0, 2, 1, log3, 10}, {2, 3}, DType::f32);  // rows: q, k, v
    Tensor o = ctx.empty({2, 1}, DType::f32), lse = ctx.empty({1, 1, 2}, DType::f32);

    attention(ctx, qkv, {}, shape, o, lse);

    EXPECT_TRUE(near_all(o, {2, 0.25 * 2 + 0.75 * 10}, tolerance(test_device(), DType::f32)));
    EXPECT_TRUE(near_all(lse, {0, std::log(4.0)}, tolerance(test_device(), DType::f32)));
}

TEST(AttentionByHand, CapsScoresBeforeTheirSoftmax) {
    Context ctx(on_test_device());
    AttentionShape shape = attention_shape(1, 2, 1, 1, 1, 1);
    shape.scale = 1.0f;
    shape.soft_cap = 2.0f;
    const double score = 2 * std::tanh(3.0 / 2), other = 2 * std::tanh(-1.0 / 2);
    const Tensor qkv = tensor_of(ctx, {5, 3, 2, 1, -1, 10}, {2, 3}, DType::f32);  // rows: q, k, v
    Tensor o = ctx.empty({2, 1}, DType::f32), lse = ctx.empty({1, 1, 2}, DType::f32);

    attention(ctx, qkv, {}, shape, o, lse);

    const double sum = std::exp(score) + std::exp(other);
    EXPECT_TRUE(near_all(o, {2, (2 * std::exp(score) + 10 * std::exp(other)) / sum},
                         tolerance(test_device(), DType::f32)));
    EXPECT_TRUE(
        near_all(lse, {2 * std::tanh(15.0 / 2), std::log(sum)}, tolerance(test_device(), DType::f32)));
}

TEST(AttentionSoftmax, StandsScoresThatOverflowAnExponential) {
    Context ctx(on_test_device());
    const AttentionShape shape = attention_shape(1, 250, 1, 1, 4, 1);
    const Values qkv = rounded_to(DType::f32, random_values(250 * 12, 1, 30.0));  // scores around +-1000
    Tensor o = ctx.empty({250, 4}, DType::f32), lse = ctx.empty({1, 1, 250}, DType::f32);

    attention(ctx, tensor_of(ctx, qkv, {250, 12}, DType::f32), {}, shape, o, lse);

    // An exponent of 1000 rounds by 2^-14, which is then the relative error of a probability.
    const auto expected = reference::attention(qkv, shape);
    EXPECT_TRUE(near_all(o, expected.o, {0x1p-12, 0x1p-12}));
}

TEST(AttentionBackward, IsTheSameForAnyThreadCount) {
    const AttentionShape shape = attention_shape(2, 330, 4, 2, 20, 2);
    const int64_t tokens = 2 * 330;
    const auto gradient = [&](int threads) {
        Context ctx(on_test_device(threads));
        const Tensor qkv = tensor_of(ctx, random_values(tokens * 160, 1), {tokens, 160}, DType::f32);
        const Tensor d_o = tensor_of(ctx, random_values(tokens * 80, 2), {tokens, 80}, DType::f32);
        Tensor o = ctx.empty({tokens, 80}, DType::f32), lse = ctx.empty({2, 4, 330}, DType::f32);
        Tensor dqkv = ctx.empty({tokens, 160}, DType::f32);
        attention(ctx, qkv, {}, shape, o, lse);
        attention_backward(ctx, d_o, qkv, {}, o, lse, shape, dqkv);
        return dqkv;
    };

    const Tensor alone = gradient(1);

    EXPECT_TRUE(same_bits(gradient(2), alone));
    EXPECT_TRUE(same_bits(gradient(7), alone));
}

TEST(AttentionScratch, IsWhatBothPassesTakeOnACpu) {
    if (test_device() != Device::cpu) GTEST_SKIP() << "on a GPU it is what a library asks for";
    for (const DType dtype : float_types) {
        Context ctx(on_test_device(2));
        const AttentionShape shape = attention_shape(2, 300, 4, 2, 40, 2);
        const Tensor qkv = ctx.zeros({600, 8 * 40}, dtype), d_o = ctx.zeros({600, 160}, dtype);
        Tensor o = ctx.zeros({600, 160}, dtype), dqkv = ctx.zeros(qkv.shape(), dtype);
        Tensor lse = ctx.zeros({2, 4, 300}, DType::f32);
        const auto before = static_cast<double>(ctx.pooled_bytes());
        attention(ctx, qkv, {}, shape, o, lse);
        attention_backward(ctx, d_o, qkv, {}, o, lse, shape, dqkv);

        const auto taken = static_cast<double>(ctx.pooled_bytes()) - before;
        // A pool rounds up by an eighth at most, and gives the backward pass what forward leaves and fits it.
        EXPECT_LE(taken, 1.125 * static_cast<double>(attention_scratch(ctx, dtype, shape)));
        EXPECT_GE(taken, static_cast<double>(cpu::attention_backward_bytes(dtype, shape, ctx.threads())));
    }
}

class AttentionCached : public testing::TestWithParam<DType> {};

TEST_P(AttentionCached, MatchesReferenceAndReadsNothingBeyondTheLength) {
    Context ctx(on_test_device(2));
    for (const auto& [window, soft_cap] :
         {std::pair{0, 0.0f}, std::pair{3, 0.0f}, std::pair{100, 0.0f}, std::pair{40, 0.7f}}) {
        for (const int64_t tokens : {1, 5, 61}) {
            const AttentionShape shape = attention_shape(1, tokens, 3, 2, 11, 2, 1, window, soft_cap);
            const int64_t length = 61, capacity = 70, width = 2 * 11;
            Values keys = rounded_to(GetParam(), random_values(capacity * width, 1)), values = keys;
            std::fill(keys.begin() + length * width, keys.end(), std::nan(""));
            const Values q = rounded_to(GetParam(), random_values(tokens * 33, 2));
            Tensor o = ctx.empty({tokens, 33}, GetParam());

            attention_cached(ctx, tensor_of(ctx, q, {tokens, 33}, GetParam()),
                             tensor_of(ctx, keys, {capacity, width}, GetParam()),
                             tensor_of(ctx, values, {capacity, width}, GetParam()), length, shape, o);

            const auto expected = reference::attention_cached(q, keys, values, length, shape);
            EXPECT_TRUE(near_all(o, expected, tolerance(test_device(), GetParam())));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Types, AttentionCached, testing::ValuesIn(float_types),
                         [](const auto& type) { return std::string(to_string(type.param)); });

TEST(AttentionCachedTokens, EqualTheLastRowsOfTheWholeSequence) {
    Context ctx(on_test_device(2));
    const int64_t seq = 70, heads = 4, kv = 2, hd = 16, tokens = 3, columns = (heads + 2 * kv) * hd;
    const Values qkv = rounded_to(DType::f32, random_values(seq * columns, 1));
    Tensor whole = ctx.empty({seq, heads * hd}, DType::f32), lse = ctx.empty({1, heads, seq}, DType::f32);
    attention(ctx, tensor_of(ctx, qkv, {seq, columns}, DType::f32), {},
              attention_shape(1, seq, heads, kv, hd, 2), whole, lse);
    Values q, keys, values;
    for (int64_t i = 0; i < seq; ++i) {
        const auto row = qkv.begin() + i * columns;
        if (i >= seq - tokens) q.insert(q.end(), row, row + heads * hd);
        keys.insert(keys.end(), row + heads * hd, row + (heads + kv) * hd);
        values.insert(values.end(), row + (heads + kv) * hd, row + columns);
    }
    Tensor o = ctx.empty({tokens, heads * hd}, DType::f32);

    attention_cached(ctx, tensor_of(ctx, q, {tokens, heads * hd}, DType::f32),
                     tensor_of(ctx, keys, {seq, kv * hd}, DType::f32),
                     tensor_of(ctx, values, {seq, kv * hd}, DType::f32), seq,
                     attention_shape(1, tokens, heads, kv, hd, 2), o);

    EXPECT_TRUE(
        near_all(o, values_of(whole.rows(seq - tokens, tokens)), tolerance(test_device(), DType::f32)));
}

TEST(AttentionChecks, RefuseQueryHeadsWithoutAKvHead) {
    Context ctx(on_test_device());
    const AttentionShape shape =
        attention_shape(1, 2, 3, 1, 4, 3, 1);  // heads 1, 2 and 3 of groups of 3: the last is alone
    Tensor qkv = ctx.zeros({2, 20}, DType::f32), o = ctx.zeros({2, 12}, DType::f32);
    Tensor lse = ctx.zeros({1, 3, 2}, DType::f32);

    EXPECT_THROW(attention(ctx, qkv, {}, shape, o, lse), InternalError);
}

TEST(AttentionChecks, RefuseAScaleThatIsNotAboveZero) {
    Context ctx(on_test_device());
    AttentionShape shape = attention_shape(1, 2, 1, 1, 4, 1);
    Tensor qkv = ctx.zeros({2, 12}, DType::f32), o = ctx.zeros({2, 4}, DType::f32);
    Tensor lse = ctx.zeros({1, 1, 2}, DType::f32);
    for (const float scale : {0.0f, -0.5f, std::nanf("")}) {
        shape.scale = scale;
        EXPECT_THROW(attention(ctx, qkv, {}, shape, o, lse), InternalError);
    }
}

TEST(AttentionChecks, RefuseANegativeCap) {
    Context ctx(on_test_device());
    const AttentionShape shape = attention_shape(1, 2, 1, 1, 4, 1, 0, 0, -1.0f);
    Tensor qkv = ctx.zeros({2, 12}, DType::f32), o = ctx.zeros({2, 4}, DType::f32);
    Tensor lse = ctx.zeros({1, 1, 2}, DType::f32);

    EXPECT_THROW(attention(ctx, qkv, {}, shape, o, lse), InternalError);
}

}  // namespace
}  // namespace espalier::test
