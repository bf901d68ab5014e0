#include "src/json/number.hpp"

#include <gtest/gtest.h>

#include <cfloat>

namespace espalier {
namespace {

TEST(Shortest, IsWhatWasWrittenDownAndTheSameFloat) {
    EXPECT_EQ(shortest(1e-5f), 1e-5);
    EXPECT_EQ(shortest(1e-6f), 1e-6);
    EXPECT_EQ(shortest(0.1f), 0.1);
    EXPECT_EQ(shortest(0.0f), 0.0);
    for (const float value : {1.0f / 3, FLT_MAX, FLT_TRUE_MIN, -16777217.0f}) {
        EXPECT_EQ(static_cast<float>(shortest(value)), value);
    }
}

}  // namespace
}  // namespace espalier
