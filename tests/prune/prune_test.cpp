#include <gtest/gtest.h>

#include <limits>

#include "src/model/rotary_table.hpp"
#include "src/prune/choose.hpp"
#include "src/prune/compose.hpp"
#include "src/prune/ranking.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/prune/tiny_scores.hpp"

namespace espalier::prune {
namespace {

using model::Architecture;

TEST(Best, TakesTheLargestAndOfEqualOnesTheLower) {
    EXPECT_EQ(best({1, 5, 3, 5, 5}, 2), (std::vector<int64_t>{1, 3}));
    EXPECT_EQ(best({2, 1}, 2), (std::vector<int64_t>{0, 1}));
}

TEST(Choose, KeepsTheBestHeadsInsideTheBestGroups) {
    Architecture a = test::tiny_llama();
    a.layers.assign(1, {6, 3, 17});  // groups 0 1 | 2 3 | 4 5
    Scores s = test::tiny_scores(a, 1);
    s.heads[0] = {9, 1, 2, 3, 4, 5};  // group sums 10, 5, 9

    const Kept kept = choose(a, &s, {.heads = 2, .kv_heads = 2}, "m");

    EXPECT_EQ(kept.kv_heads[0], (std::vector<int64_t>{0, 2}));
    EXPECT_EQ(kept.heads[0], (std::vector<int64_t>{0, 5}));
}

TEST(Choose, FewerKvHeadsAloneTakeTheirQueryHeadsAlong) {
    Architecture a = test::tiny_llama();
    a.layers.assign(1, {6, 3, 17});
    Scores s = test::tiny_scores(a, 1);
    s.heads[0] = {1, 1, 5, 5, 2, 2};

    const Kept kept = choose(a, &s, {.kv_heads = 1}, "m");

    EXPECT_EQ(kept.heads[0], (std::vector<int64_t>{2, 3}));
}

TEST(Choose, DropsTheLayersOfLowestInfluence) {
    const Architecture a = test::tiny_llama();
    Scores s = test::tiny_scores(a, 1);
    s.depth.influence.layers = {0.4, 0.1, 0.3, 0.2};

    EXPECT_EQ(choose(a, &s, {.depth = {.layers = 2}}, "m").layers, (std::vector<int64_t>{0, 2}));
    EXPECT_EQ(choose(a, nullptr, {.depth = {.drop = {1, 2}}}, "m").layers, (std::vector<int64_t>{0, 3}));
}

TEST(Choose, DropsTheLayersThatTheChosenMeasureMissesLeast) {
    const Architecture a = test::tiny_llama();
    Scores s = test::tiny_scores(a, 1);
    s.depth.loss_without = {{3.0, 9.0, 2.0, 5.0}, {4.0, 3.0, 3.5}};
    s.depth.accuracy_without = {{0.5, 0.25, 0.5, 0.75}, {0.25, 0.5, 0.5}};
    s.depth.block = 2;
    const auto kept = [&](DepthBy by, DepthStyle style) {
        return choose(a, &s, {.depth = {.layers = 2, .by = by, .style = style}}, "m").layers;
    };

    EXPECT_EQ(kept(DepthBy::loss, DepthStyle::scattered), (std::vector<int64_t>{1, 3}));
    EXPECT_EQ(kept(DepthBy::accuracy, DepthStyle::scattered), (std::vector<int64_t>{0, 1}));
    EXPECT_EQ(kept(DepthBy::loss, DepthStyle::contiguous), (std::vector<int64_t>{0, 3}));
    EXPECT_EQ(kept(DepthBy::accuracy, DepthStyle::contiguous), (std::vector<int64_t>{0, 1}));
    EXPECT_THROW(kept(DepthBy::influence, DepthStyle::contiguous), UserError);  // no blocks measured
    s.depth.block = 3;
    EXPECT_THROW(kept(DepthBy::loss, DepthStyle::contiguous), UserError);  // blocks of another width
}

TEST(Choose, RefusesWhatTheModelLacksAndSaysWhatFits) {
    const Architecture a = test::tiny_nemotron();  // 4 query heads in 2 groups
    const Scores s = test::tiny_scores(a, 1);
    const auto message = [&](const Target& target) -> std::string {
        try {
            choose(a, &s, target, "m.h5");
        } catch (const UserError& e) {
            return e.what();
        }
        return "";
    };

    EXPECT_NE(message({.heads = 5}).find("--heads <= 4"), std::string::npos);
    EXPECT_NE(message({.heads = 3}).find("not a multiple of --kv-heads 2"), std::string::npos);
    EXPECT_NE(message({.hidden = 0}), "");
    EXPECT_NE(message({.heads = 4, .kv_heads = 1}), "");
}

TEST(Check, RefusesScoresThatLackATableOrLayers) {
    const Architecture a = test::tiny_llama();
    Scores s = test::tiny_scores(a, 1);
    EXPECT_NO_THROW(check(s, a, "i.h5"));

    s.head_dims.keys.clear();
    EXPECT_THROW(check(s, a, "i.h5"), UserError);
    s.head_dims = {};
    EXPECT_NO_THROW(check(s, a, "i.h5"));
    s.depth.block = std::numeric_limits<int64_t>::min();
    s.depth.influence.blocks = {1};
    EXPECT_THROW(check(s, a, "i.h5"), UserError);
}

TEST(StepTarget, IsTheNearestToEqualSteps) {
    Architecture a = test::tiny_llama();
    a.hidden = 40;

    EXPECT_EQ(step_target(a, {.hidden = 30}, 1, 3).hidden, 37);  // 36.7
    EXPECT_EQ(step_target(a, {.hidden = 30}, 2, 3).hidden, 33);  // 33.3
    EXPECT_EQ(step_target(a, {.hidden = 30}, 3, 3).hidden, 30);
}

TEST(StepTarget, CutsGroupsNoWiderThanTheSmallest) {
    Architecture a = test::tiny_llama();
    a.layers.assign(2, {8, 8, 16});
    a.layers[0] = {12, 4, 16};

    const Target half = step_target(a, {.heads = 2, .kv_heads = 2}, 1, 2);

    EXPECT_EQ(half.heads, 3);  // from one query head in each of 4 groups
    EXPECT_EQ(half.kv_heads, 3);
    const Scores s = test::tiny_scores(a, 1);
    EXPECT_NO_THROW(choose(a, &s, half, "m.h5"));
}

TEST(Choose, PairsTheLastHeadsThatStayWithTheFirstThatGoInsideEachGroup) {
    Architecture a = test::tiny_llama();
    a.layers.assign(1, {10, 2, 17});  // groups 0-4 | 5-9
    Scores s = test::tiny_scores(a, 1);
    s.heads[0] = {5, 1, 4, 2, 3, 1, 2, 3, 4, 5};  // best first: 0 2 4 3 1 | 9 8 7 6 5

    const Kept kept = choose(a, &s, {.heads = 6, .residual = HeadResidual::paper}, "m");

    // K = 3: rank 3 with 4, rank 2 with 5.
    EXPECT_EQ(kept.pairs[0], (std::vector<HeadPair>{{2, 1}, {4, 3}, {7, 6}, {8, 5}}));
}

TEST(Choose, PairsHeadsOfTheirOwnKvHeadsOverTheWholeLayer) {
    Architecture a = test::tiny_llama();
    a.layers.assign(1, {4, 4, 17});
    Scores s = test::tiny_scores(a, 1);
    s.heads[0] = {1, 4, 2, 3};  // best first: 1 3 2 0

    const Kept kept = choose(a, &s, {.heads = 3, .kv_heads = 3, .residual = HeadResidual::laco}, "m");

    EXPECT_EQ(kept.pairs[0], (std::vector<HeadPair>{{2, 0}}));
}

TEST(Choose, RefusesAResidualWhereItIsUndefined) {
    Architecture a = test::tiny_llama();
    a.layers.assign(2, {10, 2, 17});
    const Scores s = test::tiny_scores(a, 1);
    const auto refused = [&](Target target) {
        target.residual = HeadResidual::paper;
        EXPECT_THROW(choose(a, &s, target, "m"), UserError);
    };

    refused({.heads = 4});                 // 2 of 5: a kept head would take over from two
    refused({.ffn = 10});                  // no heads go
    refused({.heads = 3, .kv_heads = 1});  // a whole group goes
    EXPECT_NO_THROW(choose(a, &s, {.heads = 6, .residual = HeadResidual::paper}, "m"));
}

TEST(Choose, RefusesThePapersResidualOfHeadsThatAreNormed) {
    Architecture a = test::tiny_qwen3();
    a.layers.assign(2, {10, 2, 17});
    const Scores s = test::tiny_scores(a, 1);
    const auto kept = [&](HeadResidual residual) {
        return choose(a, &s, {.heads = 6, .residual = residual}, "m.h5");
    };

    EXPECT_NO_THROW(kept(HeadResidual::laco));
    try {
        kept(HeadResidual::paper);
        FAIL() << "a sum of heads went through a norm";
    } catch (const UserError& e) {
        EXPECT_NE(std::string(e.what()).find("choose laco"), std::string::npos) << e.what();
    }
}

TEST(Choose, KeepsEvenlySpacedPairsThatTurnAndTheBestOfTheOtherDims) {
    Architecture a = test::tiny_nemotron();  // 8 dims, of which 0 1 | 2 3 are pairs
    a.layers.assign(1, {2, 1, 5});
    Scores s = test::tiny_scores(a, 1);
    s.head_dims.queries[0] = {1, 2, 1, 2, 1, 1, 1, 1, /**/ 1, 2, 1, 2, 5, 1, 1, 4};
    s.head_dims.keys[0] = {1, 1, 1, 1, 1, 9, 1, 1};
    s.head_dims.outputs[0] = {1, 0, 0, 7, 0, 0, 0, 0, /**/ 0, 9, 0, 0, 0, 0, 3, 0};

    const Kept kept = choose(a, &s, {.head_dim = 4}, "m");

    // Of 4 dims half turn: one pair, the second. Products: dim 4 is 6, 5 is 18, 6 is 2, 7 is 5.
    EXPECT_EQ(kept.head_dims[0][0].query_key, (std::vector<int64_t>{1, 3, 4, 5}));
    EXPECT_EQ(kept.head_dims[0][0].value, (std::vector<int64_t>{0, 1, 3, 6}));
    EXPECT_THROW(choose(a, &s, {.head_dim = 6}, "m"), UserError);  // 3 of 6 dims would turn
}

TEST(Shape, OfACutVocabularyRenumbersTheSpecialTokensThatStay) {
    Architecture a = test::tiny_llama();
    a.conventions.bos = 1;
    a.conventions.eos = {30, 2, 9};
    a.conventions.pad = 4;
    Kept kept = keep_all(a);
    kept.vocab = {0, 1, 9, 30};

    const Architecture left = shape(a, kept);

    EXPECT_EQ(left.conventions.bos, 1);
    EXPECT_EQ(left.conventions.eos, (std::vector<int64_t>{3, 2}));
    EXPECT_EQ(left.conventions.pad, std::nullopt);
}

TEST(Shape, OfKeptPairsHasTheirFrequencies) {
    Architecture a = test::tiny_llama();
    a.head_dim = a.rotary_dim = 16;
    for (const RotaryPairs pairs : {RotaryPairs{0, 1, 3}, {0, 2, 4}, {3, 1, 5}, {1, 3, 3}}) {
        Kept kept = keep_all(a);
        kept.rotary = pairs;
        kept.head_dims.assign(4, std::vector<HeadDims>(3, {{}, first_of(2 * pairs.count)}));

        const auto all = model::rotary_frequencies(a), left = model::rotary_frequencies(shape(a, kept));

        ASSERT_EQ(left.size(), static_cast<size_t>(pairs.count));
        for (size_t j = 0; j < left.size(); ++j) {
            const double source = all[static_cast<size_t>(pairs.first) + j * static_cast<size_t>(pairs.step)];
            EXPECT_NEAR(left[j], source, 1e-6 * source);
        }
    }
}

TEST(ParseLayers, ReadsRangesAndLists) {
    EXPECT_EQ(parse_layers("3,7-9,8", 12), (std::vector<int64_t>{3, 7, 8, 9}));
    for (const char* bad : {"", "x", "3-", "9-7", "12", "-1"})
        EXPECT_THROW(parse_layers(bad, 12), UserError) << bad;
}

}  // namespace
}  // namespace espalier::prune
