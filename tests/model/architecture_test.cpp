#include "src/model/architecture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Architecture, IsTheSameFunctionWhateverItsConventions) {
    const Architecture a = test::tiny_llama();
    Architecture renamed = a, other = a;
    renamed.conventions = {.init_std = 0.5, .bos = 1, .pad = 2, .eos = {3}};
    other.norm.eps *= 2;

    EXPECT_NE(renamed, a);
    EXPECT_TRUE(same_function(renamed, a));
    EXPECT_FALSE(same_function(other, a));
}

TEST(Architecture, WhoseRotaryScalingGivesNoAnglesIsRefused) {
    using Kind = RotaryScaling::Kind;
    const auto checks = [](RotaryScaling scaling) {
        return [scaling] {
            Architecture a = test::tiny_llama();
            a.rotary_scaling = scaling;
            check(a, "a.json");
        };
    };
    const auto is_refused = ThrowsMessage<UserError>(HasSubstr("a.json: "));

    EXPECT_NO_THROW(checks({Kind::linear, 2})());
    EXPECT_NO_THROW(checks({Kind::llama3, 8, 1, 4, 8192})());
    EXPECT_THAT(checks({Kind::linear, 0}), is_refused);
    EXPECT_THAT(checks({Kind::llama3, 8, 4, 4, 8192}), is_refused);
    EXPECT_THAT(checks({Kind::llama3, 8, 0, 4, 8192}), is_refused);
    EXPECT_THAT(checks({Kind::llama3, 8, 1, 4, 0}), is_refused);
}

TEST(Architecture, WhoseRotaryBaseGivesNoAnglesIsRefused) {
    const auto checks = [](double base, RotaryScaling scaling = {}) {
        return [base, scaling] {
            Architecture a = test::tiny_llama();
            a.rotary_base = base;
            a.rotary_scaling = scaling;
            check(a, "a.json");
        };
    };
    RotaryScaling yarn{RotaryScaling::Kind::yarn, 4};
    yarn.original_positions = 8192;

    EXPECT_NO_THROW(checks(1)());
    EXPECT_NO_THROW(checks(1e4, yarn)());
    for (const double base : {0.0, -1.0, 1e-46, 1e39})
        EXPECT_THAT(checks(base), ThrowsMessage<UserError>(HasSubstr("the rotary base is")));
    EXPECT_THAT(checks(1, yarn), ThrowsMessage<UserError>(HasSubstr("yarn needs a rotary base above 1")));
}

TEST(Architecture, WhoseNormedHeadsAreNotTurnedAsAWholeIsRefused) {
    const auto checks = [](int64_t rotary_dim, float eps) {
        return [=] {
            Architecture a = test::tiny_qwen3();
            a.rotary_dim = rotary_dim;
            a.qk_norm_eps = eps;
            check(a, "a.json");
        };
    };

    EXPECT_NO_THROW(checks(6, 1e-6f)());
    EXPECT_THAT(checks(4, 1e-6f), ThrowsMessage<UserError>(HasSubstr("all 6 dims of a head")));
    EXPECT_THAT(checks(6, 0), ThrowsMessage<UserError>(HasSubstr("epsilon")));
}

TEST(Architecture, CountsTheKeysThatItsQueriesSee) {
    const auto keys = [](int64_t window, int64_t seq_len) {
        return mean_visible_keys({.query_heads = 1, .kv_heads = 1, .ffn = 1, .window = window}, seq_len);
    };

    EXPECT_DOUBLE_EQ(keys(0, 4096), 2048);
    EXPECT_DOUBLE_EQ(keys(4096, 4096), 2048);
    EXPECT_DOUBLE_EQ(keys(8192, 4096), 2048);
    // The first 1024 queries see 512 keys on average, the others 1024.
    EXPECT_DOUBLE_EQ(keys(1024, 4096), (512 + 3 * 1024) / 4.0);
}

TEST(Architecture, WithWindowsTakesFewerFlopsByTheKeysThatNobodySees) {
    Architecture full = test::tiny_llama(), windowed = full;
    windowed.layers[1].window = 8;

    const double less = forward_flops_per_token(full, 32) - forward_flops_per_token(windowed, 32);

    // Layer 1 has 9 query heads of 6: 16 keys on average, in the window 8 (1 - 8 / 64) = 7.
    EXPECT_DOUBLE_EQ(less, 4 * 9 * 6 * (16 - 7));
}

}  // namespace
}  // namespace espalier::model
