#include "tests/train/played_pipeline.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "src/train/pipeline_schedule.hpp"

namespace espalier::test {
namespace {

using model::PipelineShape;
using train::Task;
using train::Work;

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

}  // namespace

std::optional<double> played_seconds(const std::vector<StageCost>& costs, int virtual_stages,
                                     int64_t micro_batches) {
    const auto stages = static_cast<int>(costs.size());
    std::vector<std::vector<Task>> lists;
    for (int s = 0; s < stages; ++s)
        lists.push_back(train::pipeline_schedule({stages, s, virtual_stages}, micro_batches));
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
                const double cost = task.work == Work::forward ? costs[i].forward : costs[i].backward;
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

}  // namespace espalier::test
