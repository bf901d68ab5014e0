#include "src/model/placement.hpp"

#include <gtest/gtest.h>

#include "tests/model/tiny_models.hpp"

namespace espalier::model {
namespace {

Architecture deep(int64_t layers, int64_t vocab) {
    Architecture a = test::tiny_llama();
    a.layers.assign(static_cast<size_t>(layers), a.layers[0]);
    a.vocab = vocab;
    return a;
}

TEST(Placement, StagesShareOutLayersThatDoNotDivide) {
    const Architecture a = deep(31, 1);  // a head of no weight

    EXPECT_EQ(stage_runs(a, 4), (std::vector<Range>{{0, 8}, {8, 16}, {16, 24}, {24, 31}}));
}

TEST(Placement, TheHeadCountsAsTheLayersThatItWeighs) {
    Architecture a = deep(30, 1);
    a.vocab = static_cast<int64_t>(8 * layer_product_flops(a, 0) / (2.0 * static_cast<double>(a.hidden)));

    EXPECT_EQ(stage_runs(a, 2), (std::vector<Range>{{0, 19}, {19, 30}}));
}

TEST(Placement, EveryStageHasALayerHoweverHeavyTheHead) {
    const Architecture a = deep(4, 100000);

    EXPECT_EQ(stage_runs(a, 4), (std::vector<Range>{{0, 1}, {1, 2}, {2, 3}, {3, 4}}));
}

TEST(Placement, VirtualStagesGoRoundTheRanks) {
    const Architecture a = deep(8, 1);

    const Placement first = partition(a, {}, {2, 0, 2}), second = partition(a, {}, {2, 1, 2});

    EXPECT_EQ(first.virtual_stages, (std::vector<Range>{{0, 2}, {4, 6}}));
    EXPECT_EQ(second.virtual_stages, (std::vector<Range>{{2, 4}, {6, 8}}));
    EXPECT_TRUE(first.embedding && !first.head && !second.embedding && second.head);
}

TEST(Placement, ALayoutLargerThanTheModelIsRefused) {
    const Architecture a = test::tiny_llama();

    EXPECT_NO_THROW(check_layout(a, 6, 4, 1, "m.h5"));
    EXPECT_THROW(check_layout(a, 7, 1, 1, "m.h5"), UserError);
    EXPECT_THROW(check_layout(a, 1, 5, 1, "m.h5"), UserError);
    EXPECT_NO_THROW(check_layout(a, 1, 2, 2, "m.h5"));
    EXPECT_THROW(check_layout(a, 1, 2, 3, "m.h5"), UserError);
}

}  // namespace
}  // namespace espalier::model
