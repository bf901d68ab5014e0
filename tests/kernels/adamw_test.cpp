#include "kernels/adamw.hpp"

#include <cmath>

#include "kernels/reference/adamw.hpp"
#include "tests/kernels/op_test.hpp"

namespace espalier::test {
namespace {

AdamWOptions typical(int64_t step) {
    AdamWOptions options;
    options.learning_rate = 3e-3f;
    options.weight_decay = 0.1f;
    options.step = step;
    options.gradient_scale = 0.37f;
    return options;
}

class AdamW : public testing::TestWithParam<std::tuple<RowCase, DType>> {};

TEST_P(AdamW, FollowsReferenceOverThreeSteps) {
    const auto [c, dtype] = GetParam();
    const Shape shape{c.size()};
    Context ctx(on_test_device(2));
    Values w = rounded_to(DType::f32, random_values(c.size(), 1));
    Values m(w.size()), v(w.size());
    Tensor master = tensor_of(ctx, w, shape, DType::f32), parameter = ctx.empty(shape, dtype);
    Tensor first_moment = ctx.zeros(shape, DType::f32), second_moment = ctx.zeros(shape, DType::f32);
    const FlatRuns runs(ctx, {{0, c.size()}});

    for (int64_t step = 1; step <= 3; ++step) {
        const Values g = rounded_to(DType::f32, random_values(c.size(), 10 + static_cast<uint64_t>(step)));
        reference::adamw(typical(step), g, w, m, v);
        adamw(ctx, typical(step), runs, tensor_of(ctx, g, shape, DType::f32), master, first_moment,
              second_moment, parameter);
    }

    const auto allowed = tolerance(test_device(), DType::f32);
    EXPECT_TRUE(near_all(master, w, allowed));
    EXPECT_TRUE(near_all(first_moment, m, allowed));
    EXPECT_TRUE(near_all(second_moment, v, allowed));
    EXPECT_TRUE(near_all(parameter, rounded_to(dtype, values_of(master)), {0, 0}));
}

INSTANTIATE_TEST_SUITE_P(Cases, AdamW,
                         testing::Combine(testing::ValuesIn(row_cases), testing::ValuesIn(float_types)),
                         parameter_name);

/// Weights of which some decay, half of it or not at all, that begin anywhere and are longer than a chunk.
TEST(AdamWRuns, UpdateTheirElementsAloneEachWithItsDecay) {
    const std::vector<FlatRun> runs{{8, 16}, {24, 33000, 0.5f}, {33027, 70001, 0.0f}, {103040, 1}};
    const int64_t n = 103100;
    Context ctx(on_test_device(2));
    const Values w = rounded_to(DType::f32, random_values(n, 1));
    const Values g = rounded_to(DType::f32, random_values(n, 2));
    Tensor master = tensor_of(ctx, w, {n}, DType::f32), first_moment = ctx.zeros({n}, DType::f32),
           second_moment = ctx.zeros({n}, DType::f32), parameter = tensor_of(ctx, w, {n}, DType::bf16);

    adamw(ctx, typical(1), {ctx, runs}, tensor_of(ctx, g, {n}, DType::f32), master, first_moment,
          second_moment, parameter);

    Values expected = w, expected_parameter = rounded_to(DType::bf16, w), m(w.size());
    for (const FlatRun& run : runs) {
        const auto part = [&](const Values& all) {
            return Values(all.begin() + run.begin, all.begin() + run.begin + run.size);
        };
        AdamWOptions options = typical(1);
        options.weight_decay *= run.weight_decay_factor;
        Values pw = part(w), pm(pw.size()), pv(pw.size());
        reference::adamw(options, part(g), pw, pm, pv);
        std::copy(pw.begin(), pw.end(), expected.begin() + run.begin);
        std::copy(pm.begin(), pm.end(), m.begin() + run.begin);
        const Values stored = rounded_to(DType::bf16, part(values_of(master)));
        std::copy(stored.begin(), stored.end(), expected_parameter.begin() + run.begin);
    }
    EXPECT_TRUE(near_all(master, expected, tolerance(test_device(), DType::f32)));
    EXPECT_TRUE(near_all(first_moment, m, tolerance(test_device(), DType::f32)));
    EXPECT_TRUE(near_all(parameter, expected_parameter, {0, 0}));
}

TEST(AdamWByHand, MovesByTheRateAgainstTheSignInItsFirstStep) {
    Context ctx(on_test_device());
    AdamWOptions options;
    options.learning_rate = 0.5f;
    options.eps = 0;
    Tensor master = tensor_of(ctx, {1, 1}, {2}, DType::f32);
    Tensor first_moment = ctx.zeros({2}, DType::f32), second_moment = ctx.zeros({2}, DType::f32);

    adamw(ctx, options, {ctx, {{0, 2}}}, tensor_of(ctx, {4, -0.25}, {2}, DType::f32), master, first_moment,
          second_moment, master);

    EXPECT_TRUE(near_all(master, {0.5, 1.5}, tolerance(test_device(), DType::f32)));
}

TEST(AdamWByHand, DecaysWeightsThatHaveNoGradient) {
    Context ctx(on_test_device());
    AdamWOptions options;
    options.learning_rate = 0.5f;
    options.weight_decay = 0.25f;
    Tensor master = tensor_of(ctx, {8}, {1}, DType::f32);
    Tensor first_moment = ctx.zeros({1}, DType::f32), second_moment = ctx.zeros({1}, DType::f32);

    adamw(ctx, options, {ctx, {{0, 1}}}, ctx.zeros({1}, DType::f32), master, first_moment, second_moment,
          master);

    EXPECT_EQ(values_of(master), Values{7});
}

TEST(AdamWChecks, RefuseStepZero) {
    Context ctx(on_test_device());
    Tensor t = ctx.zeros({1}, DType::f32);

    EXPECT_THROW(adamw(ctx, typical(0), {ctx, {{0, 1}}}, t, t, t, t, t), InternalError);
}

TEST(AdamWChecks, RefuseRunsBeyondTheBuffers) {
    Context ctx(on_test_device());
    Tensor t = ctx.zeros({5}, DType::f32);

    EXPECT_THROW(adamw(ctx, typical(1), {ctx, {{0, 2}, {3, 3}}}, t, t, t, t, t), InternalError);
    EXPECT_THROW(FlatRuns(ctx, {{-1, 2}}), InternalError);
}

}  // namespace
}  // namespace espalier::test
