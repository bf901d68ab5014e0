#include "kernels/rotary.hpp"

#include <cmath>

#include "kernels/reference/rotary.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

constexpr int64_t longest = 4096;

class Rotary : public testing::TestWithParam<std::tuple<RotaryCase, DType>> {
protected:
    Rotary() {
        for (int64_t position = 0; position < longest; ++position) {
            for (int64_t j = 0; j < case_.pairs; ++j) {
                const double frequency =
                    std::pow(1e4, -static_cast<double>(j) / static_cast<double>(case_.pairs));
                cosines_.push_back(std::cos(static_cast<double>(position) * frequency));
                sines_.push_back(std::sin(static_cast<double>(position) * frequency));
            }
        }
        cosines_ = rounded_to(DType::f32, cosines_);
        sines_ = rounded_to(DType::f32, sines_);
        for (int64_t i = 0; i < case_.tokens; ++i) {
            positions_.push_back(static_cast<int32_t>((i * 977 + 5) % longest));  // in no order
        }
    }

    Values expected(const Values& x, Rotation rotation) const {
        return reference::rotate(x, cosines_, sines_, positions_, case_.pairs, case_.heads, case_.head_dim,
                                 rotation);
    }

    RotaryCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    Context ctx_{on_test_device(2)};
    Values cosines_, sines_;
    std::vector<int32_t> positions_;
};

TEST_P(Rotary, MatchesReferenceBothWays) {
    const Values x = rounded_to(dtype_, random_values(case_.size(), 1));
    const Tensor cosines = tensor_of(ctx_, cosines_, {longest, case_.pairs}, DType::f32);
    const Tensor sines = tensor_of(ctx_, sines_, {longest, case_.pairs}, DType::f32);
    const Tensor positions =
        tensor_of(ctx_, Values(positions_.begin(), positions_.end()), {case_.tokens}, DType::i32);
    for (const Rotation rotation : {Rotation::forward, Rotation::backward}) {
        Tensor turned = tensor_of(ctx_, x, {case_.tokens, case_.width()}, dtype_);

        rotate(ctx_, turned, cosines, sines, positions, case_.heads, case_.head_dim, rotation);

        EXPECT_TRUE(near_all(turned, expected(x, rotation), tolerance(test_device(), dtype_)));
    }
}

class RotaryReference : public Rotary {};

TEST_P(RotaryReference, BackwardIsTheFiniteDifferenceOfForward) {
    const Values x = random_values(case_.size(), 1), dy = random_values(case_.size(), 2);

    const Values dx = expected(dy, Rotation::backward);

    const auto loss = [&](const Values& at) { return inner_product(dy, expected(at, Rotation::forward)); };
    EXPECT_TRUE(near_all(dx, numeric_gradient(loss, x), numeric_tolerance));
}

INSTANTIATE_TEST_SUITE_P(Cases, Rotary,
                         testing::Combine(testing::ValuesIn(rotary_cases), testing::ValuesIn(float_types)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, RotaryReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, rotary_cases)),
                                          testing::Values(DType::f32)),
                         parameter_name);

TEST(RotaryByHand, TurnsAPairByAQuarter) {
    Context ctx(on_test_device());
    Tensor x = tensor_of(ctx, {3, 5, 7, 11}, {1, 4}, DType::f32);  // pairs (3, 7) and (5, 11)
    const Tensor cosines = tensor_of(ctx, {0, 1}, {1, 2}, DType::f32);
    const Tensor sines = tensor_of(ctx, {1, 0}, {1, 2}, DType::f32);
    const Tensor positions = tensor_of(ctx, {0}, {1}, DType::i32);

    rotate(ctx, x, cosines, sines, positions, 1, 4, Rotation::forward);

    EXPECT_EQ(values_of(x), (Values{-7, 5, 3, 11}));
}

TEST(RotaryChecks, RefuseMorePairsThanAHeadHas) {
    Context ctx(on_test_device());
    Tensor x = ctx.zeros({1, 4}, DType::f32);
    const Tensor table = ctx.zeros({1, 3}, DType::f32), positions = ctx.zeros({1}, DType::i32);

    EXPECT_THROW(rotate(ctx, x, table, table, positions, 1, 4, Rotation::forward), InternalError);
}

}  // namespace
}  // namespace espalier::test
