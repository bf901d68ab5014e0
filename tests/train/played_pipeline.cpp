#include "tests/train/played_pipeline.hpp"

#include <algorithm>
#include <deque>
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

/// Where a task's result goes, if to another stage.
std::optional<Key> waited_for_by(const PipelineShape& s, const Task& t) {
    const auto [m, virtual_stage] = t.pass;
    if (t.work == Work::forward) {
        if (s.is_last(virtual_stage)) return std::nullopt;
        return Key{s.stage_after(), t.work, m, virtual_stage + (s.stage_after() == 0 ? 1 : 0)};
    }
    if (s.is_first(virtual_stage)) return std::nullopt;
    return Key{s.stage_before(), t.work, m, virtual_stage - (s.stage == 0 ? 1 : 0)};
}

struct Stage {
    PipelineShape shape;
    StageCost cost;
    std::vector<Task> tasks;
    size_t next = 0;
    double clock = 0;
    std::deque<Key> sent = {};  // for whom, and not known to be taken
};

}  // namespace

std::optional<double> played_seconds(const std::vector<StageCost>& costs, int virtual_stages,
                                     int64_t micro_batches, int64_t most_messages) {
    std::vector<Stage> stages;
    for (const StageCost& cost : costs) {
        const PipelineShape shape{static_cast<int>(costs.size()), static_cast<int>(stages.size()),
                                  virtual_stages};
        stages.push_back({shape, cost, train::pipeline_schedule(shape, micro_batches)});
    }
    std::map<Key, double> reached, done;
    const auto has_sent = [&](Stage& s) {
        for (; std::ssize(s.sent) > most_messages; s.sent.pop_front()) {
            const auto taken = reached.find(s.sent.front());
            if (taken == reached.end()) return false;
            s.clock = std::max(s.clock, taken->second);
        }
        return true;
    };
    const auto advance = [&](Stage& s) {
        if (s.next == s.tasks.size() || !has_sent(s)) return false;
        const Task& task = s.tasks[s.next];
        const Key key{s.shape.stage, task.work, task.pass.micro_batch, task.pass.virtual_stage};
        const bool comes_to_it = reached.try_emplace(key, s.clock).second;
        const auto needed = waits_for(s.shape, task);
        if (needed && done.count(*needed) == 0) return comes_to_it;
        const double cost = task.work == Work::forward ? s.cost.forward : s.cost.backward;
        s.clock = std::max(s.clock, needed ? done[*needed] : 0.0) + cost / virtual_stages;
        done[key] = s.clock;
        if (const auto receiver = waited_for_by(s.shape, task)) s.sent.push_back(*receiver);
        ++s.next;
        return true;
    };
    for (bool moved = true; moved;) {
        moved = false;
        for (Stage& s : stages) {
            while (advance(s)) moved = true;
        }
    }
    double end = 0;
    for (const Stage& s : stages) {
        if (s.next < s.tasks.size()) return std::nullopt;
        end = std::max(end, s.clock);
    }
    return end;
}

}  // namespace espalier::test
