#include "src/data/shuffle.hpp"

#include <gmock/gmock.h>

#include <numeric>
#include <vector>

namespace espalier::data {
namespace {

using testing::ElementsAre;

std::vector<uint32_t> counting(size_t n) {
    std::vector<uint32_t> values(n);
    std::iota(values.begin(), values.end(), 0U);
    return values;
}

// Expected values: RandomState(seed).shuffle(arange(n)).
TEST(Shuffle, IsThatOfNumpysRandomState) {
    RandomState generator(1234);
    auto first = counting(10), second = counting(10);

    shuffle(generator, std::span(first));
    shuffle(generator, std::span(second));

    EXPECT_THAT(first, ElementsAre(7U, 2U, 9U, 1U, 0U, 8U, 4U, 5U, 6U, 3U));
    EXPECT_THAT(second, ElementsAre(7U, 3U, 5U, 1U, 4U, 8U, 0U, 2U, 6U, 9U));
}

TEST(Shuffle, LeavesNothingAndOneAloneAndDrawsNothing) {
    RandomState used(1), fresh(1);
    auto none = counting(0), one = counting(1);

    shuffle(used, std::span(none));
    shuffle(used, std::span(one));

    EXPECT_THAT(one, ElementsAre(0U));
    EXPECT_EQ(used(), fresh());
}

TEST(Interval, ReachesItsEndsAndStaysInside) {
    RandomState generator(3);
    std::vector<int> seen(6);

    for (int i = 0; i < 600; ++i) ++seen.at(interval(generator, 5));

    for (const int count : seen) EXPECT_GT(count, 50);
}

}  // namespace
}  // namespace espalier::data
