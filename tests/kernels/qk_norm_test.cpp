#include "kernels/qk_norm.hpp"

#include "kernels/reference/qk_norm.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

constexpr float eps = 1e-3f;  // so large that it counts

/// Rounded inputs of one case.
struct Inputs {
    Values x, query_weight, key_weight, dy, d_query_weight, d_key_weight;

    Inputs(HeadCase c, DType dtype)
        : x(rounded_to(dtype, random_values(c.size(), 1, 2.0))),
          query_weight(rounded_to(dtype, random_values(c.head_dim, 2))),
          key_weight(rounded_to(dtype, random_values(c.head_dim, 3))),
          dy(rounded_to(dtype, random_values(c.size(), 4))),
          d_query_weight(rounded_to(DType::f32, random_values(c.head_dim, 5))),
          d_key_weight(rounded_to(DType::f32, random_values(c.head_dim, 6))) {}
};

class QkNorm : public testing::TestWithParam<std::tuple<HeadCase, DType>> {
protected:
    HeadCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    HeadCounts heads_{case_.query_heads, case_.kv_heads};
    Shape shape_{case_.tokens, case_.width()};
    Shape weight_shape_{case_.head_dim};
    Context ctx_{on_test_device(2)};
    Inputs in_{case_, dtype_};
    Tensor x_ = tensor_of(ctx_, in_.x, shape_, dtype_);
    Tensor query_weight_ = tensor_of(ctx_, in_.query_weight, weight_shape_, dtype_);
    Tensor key_weight_ = tensor_of(ctx_, in_.key_weight, weight_shape_, dtype_);
    Tensor rstd_ = ctx_.empty({case_.tokens, heads_.normed()}, DType::f32);
};

TEST_P(QkNorm, MatchesReferenceApartAndInPlace) {
    Tensor apart = ctx_.empty(shape_, dtype_);

    qk_norm(ctx_, x_, query_weight_, key_weight_, heads_, eps, apart, rstd_);

    EXPECT_TRUE(near_all(apart,
                         reference::qk_norm(in_.x, in_.query_weight, in_.key_weight, heads_, double{eps}),
                         tolerance(test_device(), dtype_)));
    qk_norm(ctx_, x_, query_weight_, key_weight_, heads_, eps, x_, rstd_);
    EXPECT_TRUE(same_bits(x_, apart));
}

TEST_P(QkNorm, BackwardIsWhatReferenceSays) {
    Tensor y = ctx_.empty(shape_, dtype_), d = tensor_of(ctx_, in_.dy, shape_, dtype_),
           d_query_weight = tensor_of(ctx_, in_.d_query_weight, weight_shape_, DType::f32),
           d_key_weight = tensor_of(ctx_, in_.d_key_weight, weight_shape_, DType::f32);
    qk_norm(ctx_, x_, query_weight_, key_weight_, heads_, eps, y, rstd_);

    qk_norm_backward(ctx_, x_, query_weight_, key_weight_, heads_, rstd_, d, d_query_weight, d_key_weight);

    const auto expected =
        reference::qk_norm_backward(in_.dy, in_.x, in_.query_weight, in_.key_weight, heads_, double{eps});
    const auto f32 = tolerance(test_device(), DType::f32);
    EXPECT_TRUE(near_all(d, expected.dx, tolerance(test_device(), dtype_)));
    EXPECT_TRUE(near_all(d_query_weight, sum_of(in_.d_query_weight, expected.d_query_weight), f32));
    EXPECT_TRUE(near_all(d_key_weight, sum_of(in_.d_key_weight, expected.d_key_weight), f32));
}

class QkNormReference : public QkNorm {};

TEST_P(QkNormReference, GradientsAreFiniteDifferences) {
    const Inputs in(case_, DType::f64);

    const auto gradients =
        reference::qk_norm_backward(in.dy, in.x, in.query_weight, in.key_weight, heads_, double{eps});

    const auto loss = [&](const Values& x, const Values& query_weight, const Values& key_weight) {
        return inner_product(in.dy, reference::qk_norm(x, query_weight, key_weight, heads_, double{eps}));
    };
    const auto of_x = [&](const Values& x) { return loss(x, in.query_weight, in.key_weight); };
    const auto of_query = [&](const Values& weight) { return loss(in.x, weight, in.key_weight); };
    const auto of_key = [&](const Values& weight) { return loss(in.x, in.query_weight, weight); };
    EXPECT_TRUE(near_all(gradients.dx, numeric_gradient(of_x, in.x), numeric_tolerance));
    EXPECT_TRUE(
        near_all(gradients.d_query_weight, numeric_gradient(of_query, in.query_weight), numeric_tolerance));
    EXPECT_TRUE(near_all(gradients.d_key_weight, numeric_gradient(of_key, in.key_weight), numeric_tolerance));
}

INSTANTIATE_TEST_SUITE_P(Cases, QkNorm,
                         testing::Combine(testing::ValuesIn(up_to(tested_size, head_cases)),
                                          testing::ValuesIn(float_types)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, QkNormReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, head_cases)),
                                          testing::Values(DType::f32)),
                         parameter_name);

TEST(QkNormChecks, RefuseHeadsThatAreNoWholeRow) {
    Context ctx(on_test_device());
    Tensor x = ctx.zeros({2, 12}, DType::f32), rstd = ctx.zeros({2, 3}, DType::f32);
    const Tensor weight = ctx.zeros({4}, DType::f32);

    EXPECT_THROW(qk_norm(ctx, x, weight, weight, {2, 1}, eps, x, rstd), InternalError);
}

}  // namespace
}  // namespace espalier::test
