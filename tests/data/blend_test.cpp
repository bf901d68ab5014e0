#include "src/data/blend.hpp"

#include <gmock/gmock.h>

namespace espalier::data {
namespace {

using testing::ElementsAre;

TEST(Blend, GivesEachSampleToTheSourceThatLagsItsWeightMost) {
    const Blend blend({0.25, 0.75}, 6);

    // lags of s = 0 (counted as 1), 1, 2, ...: .25 .75 | .25 -.25 | -.5 .5 | -.25 .25 | 0 0 | .25 -.25
    EXPECT_THAT(blend.source, ElementsAre(1, 0, 1, 1, 0, 1));
    EXPECT_THAT(blend.index, ElementsAre(0U, 0U, 1U, 2U, 1U, 3U));
}

// Expected orders: the same rule in numpy, whose products are rounded before the subtraction.
TEST(Blend, RoundsProductsBeforeItComparesThem) {
    const Blend blend(normalised(normalised({1.0, 0.1})), 28);

    EXPECT_THAT(blend.source, ElementsAre(0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                          1, 0, 0, 0, 0));
}

TEST(Blend, FollowsWeightsThatWereNormalisedTwiceAsMegatronDoes) {
    const Blend blend(normalised(normalised({0.5, 1.8, 0.4, 0.1})), 24);

    EXPECT_THAT(blend.source,
                ElementsAre(1, 0, 2, 1, 1, 1, 3, 1, 0, 1, 2, 1, 1, 1, 0, 1, 2, 1, 1, 0, 1, 1, 2, 1));
}

TEST(Normalised, SumsInNumpysOrder) {
    // From the left these nine sum to 4.99, in numpy's eight lanes to 4.989999999999999.
    const std::vector<double> weights{0.69, 0.82, 0.89, 0.87, 0.36, 0.74, 0.13, 0.15, 0.34};

    EXPECT_EQ(normalised(weights)[0], 0.69 / 4.989999999999999);
}

}  // namespace
}  // namespace espalier::data
