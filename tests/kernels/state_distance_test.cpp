#include "kernels/state_distance.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/reference/state_distance.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

constexpr std::array both{StateDistance::cosine, StateDistance::mse};

/// The terms of a cosine's gradient are of size 1 / |s|, and cancel: whole where a row is one element.
Tolerance gradient_tolerance(DType dtype, const Values& student, int64_t n) {
    double largest = 0;
    for (int64_t row = 0; row < std::ssize(student); row += n) {
        double squares = 0;
        for (int64_t j = row; j < row + n; ++j)
            squares += student[static_cast<size_t>(j)] * student[static_cast<size_t>(j)];
        largest = std::max(largest, 1 / std::sqrt(squares));
    }
    Tolerance out = tolerance(test_device(), dtype);
    out.absolute = largest * tolerance(test_device(), DType::f32).relative;
    return out;
}

class StateDistances : public testing::TestWithParam<std::tuple<RowCase, DType>> {
protected:
    RowCase case_ = std::get<0>(GetParam());
    DType dtype_ = std::get<1>(GetParam());
    Shape shape_{case_.rows, case_.n};
    Context ctx_{on_test_device(2)};
};

TEST_P(StateDistances, MatchReference) {
    // Alike, as states of a student are, so that 1 - cos is a small difference of large numbers: rounding is
    // relative to the cosine.
    const Values student = rounded_to(dtype_, random_values(case_.size(), 1, 2.0));
    const Values teacher = rounded_to(dtype_, sum_of(student, random_values(case_.size(), 2, 0.5)));
    for (const auto distance : both) {
        Tensor distances = ctx_.empty({case_.rows}, DType::f32), gradient = ctx_.empty(shape_, dtype_);

        state_distance(ctx_, distance, tensor_of(ctx_, student, shape_, dtype_),
                       tensor_of(ctx_, teacher, shape_, dtype_), distances, gradient);

        const auto expected = reference::state_distance(distance, student, teacher, case_.n);
        auto f32 = tolerance(test_device(), DType::f32);
        f32.absolute = f32.relative;  // of a cosine near 1
        EXPECT_TRUE(near_all(distances, expected.distances, f32)) << to_string(distance);
        EXPECT_TRUE(near_all(gradient, expected.d_student, gradient_tolerance(dtype_, student, case_.n)))
            << to_string(distance);
    }
}

TEST_P(StateDistances, TakeALiftedStudentInF32AndItsGradientInTheTeachersDtype) {
    const Values student = rounded_to(DType::f32, random_values(case_.size(), 1));
    const Values teacher = rounded_to(dtype_, random_values(case_.size(), 2));
    Tensor distances = ctx_.empty({case_.rows}, DType::f32), gradient = ctx_.empty(shape_, dtype_);

    state_distance(ctx_, StateDistance::cosine, tensor_of(ctx_, student, shape_, DType::f32),
                   tensor_of(ctx_, teacher, shape_, dtype_), distances, gradient);

    const auto expected = reference::state_distance(StateDistance::cosine, student, teacher, case_.n);
    EXPECT_TRUE(near_all(gradient, expected.d_student, gradient_tolerance(dtype_, student, case_.n)));
}

class StateDistanceReference : public StateDistances {};

TEST_P(StateDistanceReference, GradientsAreFiniteDifferences) {
    const Values student = random_values(case_.size(), 1), teacher = random_values(case_.size(), 2);
    for (const auto distance : both) {
        const auto sum = [&](const Values& s) {
            double total = 0;
            for (const double d : reference::state_distance(distance, s, teacher, case_.n).distances)
                total += d;
            return total;
        };

        const auto got = reference::state_distance(distance, student, teacher, case_.n).d_student;

        EXPECT_TRUE(near_all(got, numeric_gradient(sum, student), numeric_tolerance)) << to_string(distance);
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, StateDistances,
                         testing::Combine(testing::ValuesIn(row_cases), testing::ValuesIn(float_types)),
                         parameter_name);
INSTANTIATE_TEST_SUITE_P(SmallCases, StateDistanceReference,
                         testing::Combine(testing::ValuesIn(up_to(small_size, row_cases)),
                                          testing::Values(DType::f32)),
                         parameter_name);

TEST(StateDistanceByHand, KnowsSameOppositeAndZeroRows) {
    Context ctx(on_test_device());
    const Tensor student = tensor_of(ctx, {3, 4, 3, 4, 0, 0}, {3, 2}, DType::f32);
    const Tensor teacher = tensor_of(ctx, {6, 8, -3, -4, 1, 2}, {3, 2}, DType::f32);
    Tensor distances = ctx.empty({3}, DType::f32), gradient = ctx.empty({3, 2}, DType::f32);

    state_distance(ctx, StateDistance::cosine, student, teacher, distances, gradient);
    EXPECT_EQ(values_of(distances), (Values{0, 2, 1}));
    EXPECT_TRUE(near_all(gradient, Values(6, 0.0), {0, 0, 1e-7}));

    state_distance(ctx, StateDistance::mse, student, teacher, distances, gradient);
    EXPECT_EQ(values_of(distances), (Values{12.5, 50, 2.5}));
    EXPECT_EQ(values_of(gradient), (Values{-3, -4, 6, 8, -1, -2}));
}

TEST(StateDistanceByHand, NaNStays) {
    Context ctx(on_test_device());
    const Tensor broken = tensor_of(ctx, {std::nan(""), 1}, {1, 2}, DType::f32),
                 whole = tensor_of(ctx, {1, 2}, {1, 2}, DType::f32),
                 zero = tensor_of(ctx, {0, 0}, {1, 2}, DType::f32);
    Tensor distances = ctx.empty({1}, DType::f32), gradient = ctx.empty({1, 2}, DType::f32);
    for (const auto distance : both) {
        for (const auto& [student, teacher] : {std::pair{broken, whole}, std::pair{whole, broken},
                                               std::pair{broken, zero}, std::pair{zero, broken}}) {
            state_distance(ctx, distance, student, teacher, distances, gradient);

            EXPECT_TRUE(std::isnan(values_of(distances)[0])) << to_string(distance);
            EXPECT_TRUE(std::isnan(values_of(gradient)[0])) << to_string(distance);
        }
    }
}

TEST(StateDistanceChecks, RefuseATeacherOfAnotherWidth) {
    Context ctx(on_test_device());
    Tensor student = ctx.zeros({2, 4}, DType::f32), distances = ctx.zeros({2}, DType::f32);

    EXPECT_THROW(
        state_distance(ctx, StateDistance::mse, student, ctx.zeros({2, 5}, DType::f32), distances, student),
        InternalError);
}

}  // namespace
}  // namespace espalier::test
