#include "src/core/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace espalier {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Require, ThrowsTheFormattedMessageWhenTheConditionIsFalse) {
    const auto check = [] {
        ESPALIER_REQUIRE(9 >= 12, "head count {} of {} cannot be pruned to {}", 9, "model.h5", 12);
    };

    EXPECT_THAT(check, ThrowsMessage<UserError>("head count 9 of model.h5 cannot be pruned to 12"));
}

TEST(Require, LooksAtItsConditionOnceAndNotAtItsMessageWhenAllIsWell) {
    int conditions = 0, messages = 0;

    ESPALIER_REQUIRE(++conditions == 1, "{}", ++messages);

    EXPECT_EQ(conditions, 1);
    EXPECT_EQ(messages, 0);
}

TEST(Require, IsOneStatement) {
    bool reached = false;

    if (false)
        ESPALIER_REQUIRE(false, "not reached");
    else
        reached = true;

    EXPECT_TRUE(reached);
}

TEST(Fail, ThrowsUserError) {
    EXPECT_THAT([] { fail("no such file: {}", "a.h5"); }, ThrowsMessage<UserError>("no such file: a.h5"));
}

TEST(AssertionFailed, NamesTheExpressionAndThePlace) {
    EXPECT_THAT([] { assertion_failed("rows > 0", "kernels/norm.cpp", 12); },
                ThrowsMessage<InternalError>("kernels/norm.cpp:12: assertion failed: rows > 0"));
}

#ifdef ESPALIER_DEBUG
TEST(Assert, ThrowsInDebugBuilds) {
    EXPECT_THAT([] { ESPALIER_ASSERT(1 + 1 == 3); },
                ThrowsMessage<InternalError>(AllOf(HasSubstr("1 + 1 == 3"), HasSubstr("error_test.cpp"))));
}
#else
TEST(Assert, DoesNotLookAtItsConditionInReleaseBuilds) {
    int looked = 0;

    ESPALIER_ASSERT(++looked == 0);

    EXPECT_EQ(looked, 0);
}
#endif

}  // namespace
}  // namespace espalier
