#include "src/search/halving.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace espalier::search {
namespace {

using testing::ElementsAre;
using testing::Optional;

TEST(Halving, DoublesTheStepsUntilOneCandidateHasAll) {
    EXPECT_THAT(rungs(15, 400, 1, 0), ElementsAre(25, 50, 100, 200, 400));
    EXPECT_THAT(rungs(1, 400, 1, 0), ElementsAre(400));
    EXPECT_THAT(rungs(2, 5, 1, 0), ElementsAre(3, 5));
}

TEST(Halving, GivesAllCandidatesAllStepsWithOneRung) {
    EXPECT_THAT(rungs(15, 400, 1, 1), ElementsAre(400));
}

TEST(Halving, ComparesWhereValidationIsDue) {
    EXPECT_THAT(rungs(4, 90, 20, 0), ElementsAre(40, 60, 90));
}

TEST(Halving, HasNoMoreRungsThanSteps) {
    EXPECT_THAT(rungs(100, 3, 1, 0), ElementsAre(1, 2, 3));
}

TEST(Survivors, AreTheBetterHalfAndOfEqualsTheLowerNumbers) {
    const Losses losses{{0, 3.0}, {1, 2.0}, {2, 3.0}, {5, 2.5}, {7, 9.0}};

    EXPECT_THAT(survivors({0, 1, 2, 5, 7}, losses), Optional(ElementsAre(0, 1, 5)));
    EXPECT_THAT(survivors({0, 2}, losses), Optional(ElementsAre(0)));
}

TEST(Survivors, AreUndecidedWhileALossIsMissing) {
    EXPECT_EQ(survivors({0, 1, 2}, {{0, 3.0}, {2, 1.0}}), std::nullopt);
}

TEST(Survivors, DoNotIncludeWhoDivergedUnlessAllDid) {
    const double nan = std::nan("");
    EXPECT_THAT(survivors({0, 1}, {{0, nan}, {1, 99.0}}), Optional(ElementsAre(1)));
    EXPECT_THAT(survivors({0, 1, 2}, {{0, nan}, {1, nan}, {2, 99.0}}), Optional(ElementsAre(2)));
    EXPECT_THAT(survivors({0, 1, 2}, {{0, nan}, {1, nan}, {2, nan}}), Optional(ElementsAre(0)));
}

TEST(Ranking, PutsWhoCameFurtherFirstThenTheLowerLoss) {
    const std::map<int64_t, Losses> by_steps{{0, {{0, 5.0}, {1, 4.0}, {2, 6.0}, {3, 4.0}}},
                                             {10, {{0, 2.0}, {1, 3.0}, {2, 2.5}, {3, 3.0}}},
                                             {20, {{0, 1.9}, {2, 1.8}}}};

    EXPECT_THAT(ranking(by_steps), ElementsAre(2, 0, 1, 3));
    EXPECT_THAT(ranking({{0, by_steps.at(0)}}), ElementsAre(1, 3, 0, 2));
}

TEST(Ranking, PutsWhoDivergedLastHoweverFarItCame) {
    const double nan = std::nan("");

    EXPECT_THAT(ranking({{0, {{0, 5.0}, {1, 4.0}, {2, nan}}}, {10, {{0, 2.0}, {1, 3.0}}}, {20, {{0, nan}}}}),
                ElementsAre(1, 0, 2));
}

}  // namespace
}  // namespace espalier::search
