// Schedules are played through on imagined stages: nobody waits for ever, every pass is done once, and the
// bubble is what the papers say.
#include "src/train/pipeline_schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

namespace espalier::train {
namespace {

using model::PipelineShape;

constexpr double forward_cost = 1, backward_cost = 2;  // of a whole stage, all of its virtual stages

using Key = std::tuple<int, Work, int64_t, int>;  // stage, work, micro-batch, virtual stage

/// The task whose result a task waits for, on the stage that sends it.
std::optional<Key> waits_for(const PipelineShape& s, const Task& t) {
    const auto [m, virtual_stage] = t.pass;
    if (t.work == Work::forward) {
        if (s.stage > 0) return Key{s.stage - 1, t.work, m, virtual_stage};
        if (virtual_stage > 0) return Key{s.stages - 1, t.work, m, virtual_stage - 1};
        return std::nullopt;
    }
    if (s.stage < s.stages - 1) return Key{s.stage + 1, t.work, m, virtual_stage};
    if (virtual_stage < s.virtual_stages - 1) return Key{0, t.work, m, virtual_stage + 1};
    return Key{s.stage, Work::forward, m, virtual_stage};
}

/// Time until all stages are done when messages take none; nullopt when they wait for each other for ever.
std::optional<double> play(int stages, int virtual_stages, int64_t micro_batches) {
    std::vector<std::vector<Task>> lists;
    for (int s = 0; s < stages; ++s)
        lists.push_back(pipeline_schedule({stages, s, virtual_stages}, micro_batches));
    std::map<Key, double> done;
    std::vector<size_t> next(static_cast<size_t>(stages), 0);
    std::vector<double> clock(static_cast<size_t>(stages), 0);
    for (bool moved = true; moved;) {
        moved = false;
        for (int s = 0; s < stages; ++s) {
            const auto i = static_cast<size_t>(s);
            while (next[i] < lists[i].size()) {
                const Task& task = lists[i][next[i]];
                const auto needed = waits_for({stages, s, virtual_stages}, task);
                if (needed && !done.count(*needed)) break;
                const double cost = task.work == Work::forward ? forward_cost : backward_cost;
                clock[i] = std::max(clock[i], needed ? done[*needed] : 0.0) + cost / virtual_stages;
                done[Key{s, task.work, task.pass.micro_batch, task.pass.virtual_stage}] = clock[i];
                ++next[i];
                moved = true;
            }
        }
    }
    for (size_t i = 0; i < lists.size(); ++i) {
        if (next[i] < lists[i].size()) return std::nullopt;
    }
    return *std::max_element(clock.begin(), clock.end());
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
