#include "src/plan/partition.hpp"

#include <gtest/gtest.h>

#include "src/model/placement.hpp"
#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

using plan::Practice;
using Runs = std::vector<Range>;

double weights(const model::Architecture& a, const plan::Layout& l, int64_t stage) {
    const Practice espalier;
    return plan::Partition(a, espalier).weights(l, stage);
}

TEST(Weights, AddUpToTheParameterTable) {
    const auto a = small_model();
    ASSERT_EQ(model::parameter_count(a), 4 * 720 + 128 + 136);

    EXPECT_EQ(weights(a, {}, 0), model::parameter_count(a));
    EXPECT_EQ(weights(a, {1, 2}, 0), 2 * 720 + 128);
    EXPECT_EQ(weights(a, {1, 2}, 1), 2 * 720 + 136);
    EXPECT_EQ(weights(a, {1, 2, 2}, 1), 2 * 720 + 136);
}

TEST(Weights, SplitEverythingButNorms) {
    EXPECT_EQ(weights(small_model(), {2}, 0), 4 * (704 / 2 + 16) + 64 + 64 + 8);
}

TEST(Weights, HoldATiedEmbeddingOnBothEnds) {
    auto a = small_model();
    a.tied = true;

    EXPECT_EQ(weights(a, {1, 2}, 0), 2 * 720 + 128);
    EXPECT_EQ(weights(a, {1, 2}, 1), 2 * 720 + 128 + 8);
}

TEST(Weights, CountLayersOfDifferentWidthsEach) {
    auto a = small_model();
    a.layers[2].ffn = 16;

    EXPECT_EQ(weights(a, {}, 0), model::parameter_count(a));
}

/// A head as heavy as two layers.
model::Architecture heavy_head() {
    auto a = small_model();
    a.vocab = 2 * 704 / 8;
    return a;
}

TEST(Layers, OfABalancedPipelineMakeUpForTheHead) {
    const auto a = heavy_head();
    const Practice espalier;
    plan::Partition partition(a, espalier);

    EXPECT_EQ(partition.layers({1, 2}, 0), (Runs{{0, 3}}));
    EXPECT_EQ(partition.layers({1, 2}, 1), (Runs{{3, 4}}));
    EXPECT_EQ(partition.weights({1, 2}, 1), 720 + 8 * 176 + 8);
}

TEST(Layers, OfAnEvenPipelineAreAsManyOnEachStage) {
    const auto a = heavy_head();
    Practice megatron;
    megatron.stages = Practice::Stages::even;
    plan::Partition partition(a, megatron);

    EXPECT_EQ(partition.layers({1, 2}, 0), (Runs{{0, 2}}));
    EXPECT_EQ(partition.layers({1, 2}, 1), (Runs{{2, 4}}));
    EXPECT_EQ(partition.layers({1, 2, 2}, 1), (Runs{{1, 2}, {3, 4}}));
}

TEST(Layers, AreThoseThatEspalierPlaces) {
    auto a = heavy_head();
    a.layers.assign(13, a.layers[0]);
    const Practice espalier;
    plan::Partition partition(a, espalier);

    for (const auto& [pp, v] : {std::pair{1, 1}, std::pair{3, 1}, std::pair{4, 1}, std::pair{2, 3}})
        for (int stage = 0; stage < pp; ++stage)
            EXPECT_EQ(partition.layers({1, pp, v}, stage),
                      model::partition(a, {}, {pp, stage, v}).virtual_stages)
                << pp << " stages of " << v << ", stage " << stage;
}

}  // namespace
}  // namespace espalier::test
