#include "src/plan/enumerate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "src/core/error.hpp"
#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

using model::Recompute;
using testing::HasSubstr;

TEST(Enumerate, SortsByTime) {
    const auto plan = plan::enumerate(round_system(), small_step(), 4, {});

    ASSERT_GT(plan.layouts.size(), 5u);
    EXPECT_TRUE(std::is_sorted(plan.layouts.begin(), plan.layouts.end(),
                               [](const auto& a, const auto& b) { return a.seconds < b.seconds; }));
}

TEST(Enumerate, UsesEveryGpuInEveryLayout) {
    for (const auto& p : plan::enumerate(round_system(), small_step(), 4, {}).layouts) {
        EXPECT_EQ(p.layout.ranks(), 4);
        EXPECT_EQ(plan::objection(small_step(), p.layout), "");
    }
}

TEST(Enumerate, CountsTheLayoutsOfASmallCaseByHand) {
    // One GPU: micro-batches 1, 2, 3, 4, 8, each with none, selective and full recompute; those of 5, 6 and 7
    // are two as those of 4 are.
    EXPECT_EQ(plan::enumerate(round_system(), small_step(), 1, {}).tried, 15);
}

TEST(Enumerate, KeepsToWhatIsChosen) {
    const plan::Choice choice{2, 2, 2, 1, Recompute::full};

    const auto plan = plan::enumerate(round_system(), small_step(), 4, choice);

    ASSERT_EQ(plan.layouts.size(), 1u);
    EXPECT_EQ(plan.layouts[0].layout, (plan::Layout{2, 2, 2, 1, 1, Recompute::full}));
}

TEST(Enumerate, NamesTheNearestMissWhereNothingFits) {
    auto system = round_system();
    system.memory_bytes = 1000;

    const auto plan = plan::enumerate(system, small_step(), 4, {});

    EXPECT_TRUE(plan.layouts.empty());
    ASSERT_TRUE(plan.nearest_miss.has_value());
    EXPECT_GT(plan.nearest_miss->memory.sum(), 1000);
}

std::string refusal(int64_t gpus, const plan::Choice& choice) {
    try {
        plan::enumerate(round_system(), small_step(), gpus, choice);
    } catch (const UserError& e) {
        return e.what();
    }
    return "";
}

TEST(Enumerate, SaysWhyNoLayoutIsLegal) {
    EXPECT_THAT(refusal(9, {1, 1, {}, {}, {}}), HasSubstr("--global-batch 8 has 8 micro-batches of 1, so"));
    EXPECT_THAT(refusal(3, {1, 1, {}, 4, {}}), HasSubstr("1 of 3 replicas would have no work"));
    EXPECT_THAT(refusal(8, {8, 1, {}, {}, {}}), HasSubstr("--tp <= 4"));
    EXPECT_THAT(refusal(8, {1, 8, {}, {}, {}}), HasSubstr("--virtual-stages <= 4"));
    EXPECT_THAT(refusal(4, {3, {}, {}, {}, {}}), HasSubstr("must divide --gpus 4"));
    EXPECT_THAT(refusal(4, {{}, {}, {}, 9, {}}), HasSubstr("--micro-batch 9 exceeds --global-batch 8"));
}

TEST(Enumerate, NothingNeedsToDivide) {
    const plan::Choice replicas{1, 1, {}, {}, Recompute::full}, interleaved{1, 3, 1, 3, {}};

    // Three replicas of 8 samples, the fullest of 3.
    std::vector<int64_t> sizes;
    for (const auto& p : plan::enumerate(round_system(), small_step(), 3, replicas).layouts)
        sizes.push_back(p.layout.micro_batch);
    EXPECT_THAT(sizes, testing::UnorderedElementsAre(1, 2, 3));
    // 3, 3 and 2 samples on three stages; a stage's two virtual stages would want 6 layers.
    EXPECT_EQ(plan::enumerate(round_system(), small_step(), 3, interleaved).tried, 3);
    // 1 micro-batch on two stages of two virtual stages; 3 of them.
    for (const int64_t micro_batch : {8, 3})
        EXPECT_EQ(plan::enumerate(round_system(), small_step(), 2, {1, 2, 2, micro_batch, {}}).tried, 3);
}

TEST(Enumerate, TriesNoMoreSizesForABatchThatNobodyHas) {
    auto step = small_step();
    step.global_batch = int64_t{1} << 40;

    EXPECT_LE(plan::enumerate(round_system(), step, 1, {}).tried, 3 * 4096);
}

TEST(Enumerate, FusedAttentionHasNoProbabilitiesToKeep) {
    auto step = small_step();
    step.practice.selective = plan::Practice::Selective::attention;

    EXPECT_EQ(plan::enumerate(round_system(), step, 1, {}).tried, 10);
    step.practice.attention = plan::Practice::Attention::materialised;
    EXPECT_EQ(plan::enumerate(round_system(), step, 1, {}).tried, 15);
}

}  // namespace
}  // namespace espalier::test
