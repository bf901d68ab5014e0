#include "kernels/soft_cap.hpp"

#include <cmath>

#include "kernels/reference/soft_cap.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

constexpr float cap = 3.5f;

class SoftCap : public testing::TestWithParam<std::tuple<RowCase, DType>> {
protected:
    RowCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    Shape shape_{case_.rows, case_.n};
    Context ctx_{on_test_device(2)};
    Values z_ = rounded_to(DType::f32, random_values(case_.size(), 1, 4.0));
};

TEST_P(SoftCap, MatchesReferenceInPlace) {
    Tensor z = tensor_of(ctx_, z_, shape_, DType::f32);

    soft_cap(ctx_, cap, z);

    EXPECT_TRUE(near_all(z, reference::soft_cap(double{cap}, z_), tolerance(test_device(), DType::f32)));
}

TEST_P(SoftCap, BackwardTakesWhatForwardLeft) {
    const Values dy = rounded_to(dtype_, random_values(case_.size(), 2));
    Tensor z = tensor_of(ctx_, z_, shape_, DType::f32), d = tensor_of(ctx_, dy, shape_, dtype_);

    soft_cap(ctx_, cap, z);
    soft_cap_backward(ctx_, cap, z, d);

    EXPECT_TRUE(
        near_all(d, reference::soft_cap_backward(double{cap}, z_, dy), tolerance(test_device(), dtype_)));
}

class SoftCapReference : public SoftCap {};

TEST_P(SoftCapReference, GradientIsAFiniteDifference) {
    const Values z = random_values(case_.size(), 1, 4.0), dy = random_values(case_.size(), 2);

    const Values d = reference::soft_cap_backward(double{cap}, z, dy);

    const auto loss = [&](const Values& at) {
        return inner_product(dy, reference::soft_cap(double{cap}, at));
    };
    EXPECT_TRUE(near_all(d, numeric_gradient(loss, z), numeric_tolerance));
}

INSTANTIATE_TEST_SUITE_P(Cases, SoftCap,
                         testing::Combine(testing::ValuesIn(row_cases), testing::ValuesIn(float_types)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, SoftCapReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, row_cases)),
                                          testing::Values(DType::f32)),
                         parameter_name);

TEST(SoftCapEnds, IsTheCapFarOutAndKeepsWhatIsNoNumber) {
    Context ctx(on_test_device());
    Tensor z = tensor_of(ctx, {-1e30, 1e30, 0, INFINITY, NAN}, {5}, DType::f32);

    soft_cap(ctx, cap, z);

    const Tensor on_host = ctx.to_host(z);
    const float* const out = on_host.data<float>();
    EXPECT_EQ(out[0], -cap);
    EXPECT_EQ(out[1], cap);
    EXPECT_EQ(out[2], 0);
    EXPECT_EQ(out[3], cap);
    EXPECT_TRUE(std::isnan(out[4]));
    EXPECT_THROW(soft_cap(ctx, 0, z), InternalError);
}

}  // namespace
}  // namespace espalier::test
