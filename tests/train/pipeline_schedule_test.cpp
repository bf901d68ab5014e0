// Schedules are played through on imagined stages: nobody waits for ever, every pass is done once, and the
// bubble is what the papers say.
#include "src/train/pipeline_schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "tests/train/played_pipeline.hpp"

namespace espalier::train {
namespace {

constexpr double forward_cost = 1, backward_cost = 2;  // of a whole stage, all of its virtual stages

/// Time until equal stages are done, if ever.
std::optional<double> play(int stages, int virtual_stages, int64_t micro_batches) {
    return test::played_seconds(std::vector(stages, test::StageCost{forward_cost, backward_cost}),
                                virtual_stages, micro_batches);
}

TEST(PipelineSchedule, NoStageWaitsForEver) {
    for (int stages = 1; stages <= 6; ++stages) {
        for (int virtual_stages = 1; virtual_stages <= 4; ++virtual_stages) {
            for (int64_t m = 1; m <= 20; ++m) {
                EXPECT_TRUE(play(stages, virtual_stages, m)) << stages << " stages, " << virtual_stages
                                                             << " virtual stages, " << m << " micro-batches";
            }
        }
    }
}

TEST(PipelineSchedule, NoStageWaitsForEverThoughFewMessagesAreOnTheirWay) {
    for (int stages = 2; stages <= 12; ++stages) {
        for (int virtual_stages = 1; virtual_stages <= 4; ++virtual_stages) {
            for (int64_t m = 1; m <= 5 * stages; ++m) {
                EXPECT_TRUE(
                    test::played_seconds(std::vector(stages, test::StageCost{forward_cost, backward_cost}),
                                         virtual_stages, m, most_messages(stages)))
                    << stages << " stages, " << virtual_stages << " virtual stages, " << m
                    << " micro-batches";
            }
        }
    }
    const auto with_bound_of_six =
        test::played_seconds(std::vector(6, test::StageCost{forward_cost, backward_cost}), 2, 17, 6);
    EXPECT_FALSE(with_bound_of_six) << "what the bound is for";
}

TEST(PipelineSchedule, EveryPassIsDoneOnce) {
    std::map<std::tuple<Work, int64_t, int>, int> count;
    for (const Task& t : pipeline_schedule({3, 1, 2}, 7))
        ++count[{t.work, t.pass.micro_batch, t.pass.virtual_stage}];

    EXPECT_EQ(count.size(), size_t{2 * 7 * 2});
    for (const auto& [pass, times] : count) EXPECT_EQ(times, 1);
}

TEST(PipelineSchedule, AStageHoldsAtMostAsManyActivationsAsStagesFollowIt) {
    for (int stage = 0; stage < 4; ++stage) {
        int held = 0, most = 0;
        for (const Task& t : pipeline_schedule({4, stage, 1}, 20)) {
            held += t.work == Work::forward ? 1 : -1;
            most = std::max(most, held);
        }
        EXPECT_EQ(most, 4 - stage);
    }
}

TEST(PipelineSchedule, TheBubbleIsStagesLessOneOverMicroBatches) {
    const double ideal = 3.0 * 16, took = play(4, 1, 16).value();

    EXPECT_DOUBLE_EQ(took / ideal - 1, 3.0 / 16);
}

TEST(PipelineSchedule, VirtualStagesDivideTheBubble) {
    const double ideal = 3.0 * 16, took = play(4, 2, 16).value();

    EXPECT_DOUBLE_EQ(took / ideal - 1, 3.0 / 16 / 2);
}

}  // namespace
}  // namespace espalier::train
