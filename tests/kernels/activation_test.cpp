#include "kernels/activation.hpp"

#include <cmath>

#include "kernels/reference/activation.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

constexpr std::array activations{Activation::swiglu, Activation::geglu, Activation::relu2, Activation::gelu,
                                 Activation::silu};

int64_t input_width(Activation activation, int64_t n) {
    return is_gated(activation) ? 2 * n : n;
}

class Activate : public testing::TestWithParam<std::tuple<RowCase, DType>> {
protected:
    Values input(Activation activation) const {
        return random_values(case_.rows * input_width(activation, case_.n), 1, 3.0);
    }

    RowCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    Context ctx_{on_test_device(2)};
};

TEST_P(Activate, MatchesReference) {
    for (const Activation activation : activations) {
        const Values u = rounded_to(dtype_, input(activation));
        Tensor y = ctx_.empty({case_.rows, case_.n}, dtype_);

        activate(ctx_, activation, tensor_of(ctx_, u, {case_.rows, input_width(activation, case_.n)}, dtype_),
                 y);

        EXPECT_TRUE(
            near_all(y, reference::activate(activation, u, case_.n), tolerance(test_device(), dtype_)))
            << to_string(activation);
    }
}

TEST_P(Activate, BackwardMatchesReferenceInPlaceToo) {
    for (const Activation activation : activations) {
        const Values u = rounded_to(dtype_, input(activation));
        const Values dy = rounded_to(dtype_, random_values(case_.size(), 2));
        Tensor in = tensor_of(ctx_, u, {case_.rows, input_width(activation, case_.n)}, dtype_);
        const Tensor d = tensor_of(ctx_, dy, {case_.rows, case_.n}, dtype_);
        Tensor du = ctx_.empty(in.shape(), dtype_);

        activate_backward(ctx_, activation, d, in, du);
        activate_backward(ctx_, activation, d, in, in);

        EXPECT_TRUE(near_all(du, reference::activate_backward(activation, dy, u, case_.n),
                             tolerance(test_device(), dtype_)))
            << to_string(activation);
        EXPECT_TRUE(same_bits(in, du)) << to_string(activation);
    }
}

class ActivateReference : public Activate {};

TEST_P(ActivateReference, GradientIsAFiniteDifference) {
    for (const Activation activation : activations) {
        const Values u = input(activation), dy = random_values(case_.size(), 2);

        const Values du = reference::activate_backward(activation, dy, u, case_.n);

        const auto loss = [&](const Values& at) {
            return inner_product(dy, reference::activate(activation, at, case_.n));
        };
        EXPECT_TRUE(near_all(du, numeric_gradient(loss, u), numeric_tolerance)) << to_string(activation);
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, Activate,
                         testing::Combine(testing::ValuesIn(row_cases), testing::ValuesIn(float_types)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, ActivateReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, row_cases)),
                                          testing::Values(DType::f32)),
                         parameter_name);

TEST(ActivationTails, StayFiniteFarFromZero) {
    Context ctx(on_test_device());
    const Values u{-1e38, -1e20, -1e12, -1e4, -200, -88, 88, 200, 1e4, 1e12, 1e20, 1e38};
    const auto n = std::ssize(u);
    for (const Activation activation : {Activation::gelu, Activation::silu}) {
        Tensor x = tensor_of(ctx, u, {1, n}, DType::f32), y = ctx.empty({1, n}, DType::f32);
        Tensor slope = ctx.empty({1, n}, DType::f32);
        const Tensor ones = tensor_of(ctx, Values(u.size(), 1.0), {1, n}, DType::f32);

        activate(ctx, activation, x, y);
        activate_backward(ctx, activation, ones, x, slope);

        const Tolerance rounding = tolerance(ctx.device(), DType::f32);
        for (size_t i = 0; i < u.size(); ++i) {  // each by itself: the largest would cover the others
            EXPECT_NEAR(values_of(y)[i], std::max(u[i], 0.0), rounding.relative * std::abs(u[i]) * (u[i] > 0))
                << to_string(activation) << " of " << u[i];
            EXPECT_NEAR(values_of(slope)[i], u[i] > 0, rounding.relative)
                << to_string(activation) << " at " << u[i];
        }
    }
}

TEST(ActivationNames, ReadBackAsThemselves) {
    for (const Activation activation : activations) {
        EXPECT_EQ(activation_from_string(to_string(activation)), activation);
    }
    EXPECT_EQ(activation_from_string("swish"), std::nullopt);
}

TEST(ActivationChecks, RefuseAnInputWithoutItsGate) {
    Context ctx(on_test_device());
    Tensor u = ctx.zeros({2, 4}, DType::f32), y = ctx.zeros({2, 4}, DType::f32);

    EXPECT_THROW(activate(ctx, Activation::swiglu, u, y), InternalError);
}

/// A gate, or an input, beside a factor of one.
Tensor lone_input(Context& ctx, Activation activation, double x, DType dtype) {
    return tensor_of(ctx, is_gated(activation) ? Values{x, 1} : Values{x}, {1, input_width(activation, 1)},
                     dtype);
}

TEST(ActivateByHand, NaNStays) {
    Context ctx(on_test_device());
    for (const Activation activation : activations) {
        for (const DType dtype : float_types) {
            const Tensor u = lone_input(ctx, activation, std::nan(""), dtype);
            Tensor y = ctx.empty({1, 1}, dtype), du = ctx.empty(u.shape(), dtype);

            activate(ctx, activation, u, y);
            activate_backward(ctx, activation, tensor_of(ctx, {1}, {1, 1}, dtype), u, du);

            EXPECT_TRUE(std::isnan(values_of(y)[0])) << to_string(activation);
            EXPECT_TRUE(std::isnan(values_of(du)[0])) << to_string(activation);
        }
    }
}

TEST(ActivateByHand, SquaredReluOfMinusInfinityIsZero) {
    Context ctx(on_test_device());
    const Tensor u = tensor_of(ctx, {-HUGE_VAL}, {1, 1}, DType::f32);
    Tensor y = ctx.empty({1, 1}, DType::f32), du = ctx.empty({1, 1}, DType::f32);

    activate(ctx, Activation::relu2, u, y);
    activate_backward(ctx, Activation::relu2, tensor_of(ctx, {1}, {1, 1}, DType::f32), u, du);

    EXPECT_EQ(values_of(y), Values{0});
    EXPECT_EQ(values_of(du), Values{0});
}

}  // namespace
}  // namespace espalier::test
