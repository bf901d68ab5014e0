#include "src/core/parse_number.hpp"

#include <gtest/gtest.h>

namespace espalier {
namespace {

TEST(ParseNumber, TakesAWholeTextOnly) {
    EXPECT_EQ(parse_number("0.5"), 0.5);
    EXPECT_EQ(parse_number("1e-3"), 1e-3);
    EXPECT_EQ(parse_number("-7"), -7.0);

    for (const char* text : {"", " ", "x", "1x", "1 ", "1,5", "0.5.1"})
        EXPECT_EQ(parse_number(text), std::nullopt) << text;
}

TEST(ParseNumber, RefusesWhatDoubleCannotHold) {
    EXPECT_EQ(parse_number("1e999"), std::nullopt);
}

}  // namespace
}  // namespace espalier
