#include "src/core/exact.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace espalier {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(DivExact, DividesWhatComesOutEven) {
    EXPECT_EQ(div_exact(12, 4), 3);
    EXPECT_EQ(div_exact(0, 7), 0);
    EXPECT_EQ(div_exact<int64_t>(int64_t{1} << 40, 1 << 20), 1 << 20);
}

TEST(DivExact, RefusesARemainderAndZero) {
    EXPECT_THAT([] { div_exact(9, 2); }, ThrowsMessage<InternalError>("9 is not a multiple of 2"));
    EXPECT_THROW(div_exact(9, 0), InternalError);
}

TEST(DivCeil, IsTheSmallestCountOfPartsThatCovers) {
    for (int64_t a = 0; a <= 40; ++a) {
        for (int64_t b = 1; b <= 13; ++b) {
            const int64_t parts = div_ceil(a, b);

            EXPECT_GE(parts * b, a);
            EXPECT_TRUE(parts == 0 || (parts - 1) * b < a) << a << '/' << b;
        }
    }
}

TEST(Narrow, KeepsValuesThatFit) {
    EXPECT_EQ(narrow<uint8_t>(255), 255);
    EXPECT_EQ(narrow<int8_t>(-128), -128);
    EXPECT_EQ(narrow<int>(int64_t{std::numeric_limits<int>::max()}), std::numeric_limits<int>::max());
}

TEST(Narrow, RefusesValuesThatDoNot) {
    EXPECT_THROW(narrow<uint8_t>(256), InternalError);
    EXPECT_THROW(narrow<uint32_t>(-1), InternalError);
    EXPECT_THROW(narrow<int32_t>(uint64_t{1} << 31), InternalError);
    EXPECT_THAT([] { narrow<int>(int64_t{1} << 40); },
                ThrowsMessage<InternalError>(HasSubstr("1099511627776 does not fit")));
}

TEST(Range, ContainsItsBeginButNotItsEnd) {
    const Range range{3, 5};

    EXPECT_EQ(range.size(), 2);
    EXPECT_FALSE(range.contains(2));
    EXPECT_TRUE(range.contains(3));
    EXPECT_TRUE(range.contains(4));
    EXPECT_FALSE(range.contains(5));
}

TEST(SplitEvenly, CoversTheWholeInOrderWithoutGapsOrOverlap) {
    for (int64_t total = 0; total <= 33; ++total) {
        for (int64_t count = 1; count <= 9; ++count) {
            int64_t end = 0;
            for (int64_t i = 0; i < count; ++i) {
                const Range part = split_evenly(total, count, i);
                EXPECT_EQ(part.begin, end);
                end = part.end;
            }

            EXPECT_EQ(end, total);
        }
    }
}

TEST(SplitEvenly, GivesSizesThatDifferByAtMostOneWithTheLargerFirst) {
    for (int64_t total = 0; total <= 33; ++total) {
        for (int64_t count = 1; count <= 9; ++count) {
            for (int64_t i = 1; i < count; ++i) {
                const int64_t step =
                    split_evenly(total, count, i - 1).size() - split_evenly(total, count, i).size();
                EXPECT_TRUE(step == 0 || step == 1);
            }
            EXPECT_LE(split_evenly(total, count, 0).size() - split_evenly(total, count, count - 1).size(), 1);
        }
    }
}

TEST(SplitEvenly, SplitsNineHeadsOverTwoRanksAsFiveAndFour) {
    EXPECT_EQ(split_evenly(9, 2, 0), (Range{0, 5}));
    EXPECT_EQ(split_evenly(9, 2, 1), (Range{5, 9}));
}

}  // namespace
}  // namespace espalier
