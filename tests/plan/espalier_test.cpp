// What the planner takes for Espalier's own practice against what a training run reckons with.
#include <gtest/gtest.h>

#include "src/plan/memory.hpp"
#include "src/train/memory.hpp"
#include "src/train/pipeline.hpp"
#include "tests/plan/cases.hpp"

namespace espalier::test {
namespace {

using model::Recompute;
using plan::Recomputation;

/// A micro-batch of small_step()'s as a run has it.
train::StepShape shape(const plan::Step& step, const plan::Layout& l, Recompute recompute) {
    return {.sequences = l.micro_batch,
            .seq = step.seq_len,
            .dtype = *dtype_from_string(step.dtype),
            .recompute = recompute};
}

const std::vector<std::pair<Recomputation, Recompute>> recomputes{
    {Recomputation::none, Recompute::none},
    {Recomputation::selective, Recompute::selective},
    {Recomputation::full, Recompute::full}};

void expect_planned_bytes(plan::Step step) {
    for (const char* dtype : {"bf16", "f32"}) {
        step.dtype = dtype;
        for (const int tp : {1, 2}) {
            for (const auto& [planned, run] : recomputes) {
                const plan::Layout l{tp, 1, 1, 1, 2, planned};
                const auto as_run = shape(step, l, run);
                const auto& a = step.model;
                SCOPED_TRACE(fmt::format("{}, {}", dtype, to_string(l)));

                EXPECT_EQ(plan::layer_activations(step, l, a, 0), train::saved_bytes(a, 0, {tp, 0}, as_run));
                EXPECT_EQ(plan::forward_bytes(step, l, a, 0), train::forward_bytes(a, 0, {tp, 0}, as_run));
                const int64_t again = run == Recompute::full
                                          ? train::saved_bytes(a, 0, {tp, 0}, shape(step, l, Recompute::none))
                                          : 0;
                EXPECT_EQ(plan::backward_bytes(step, l, a, 0),
                          train::backward_bytes(a, 0, {tp, 0}, as_run) + again);
            }
        }
    }
}

TEST(Espalier, LayersHoldThePlannedBytes) {
    auto step = small_step();
    step.model.activation = Activation::swiglu;
    expect_planned_bytes(step);
    step.model.qk_norm_eps = 1e-6f;
    expect_planned_bytes(step);
}

TEST(Espalier, TeachersHoldThePlannedBytes) {
    auto alone = small_step(), taught = alone;
    taught.teacher = small_model();
    taught.teacher->layers.assign(8, {4, 4, 64});
    const auto activations = [](const plan::Step& step, const plan::Layout& l, int stage) {
        plan::StepPartition partition(step);
        return plan::memory(step, l, stage, partition).activations;
    };
    for (const int pp : {1, 4}) {
        const plan::Layout l{2, pp, 1, 1, 2, Recomputation::selective};
        for (int stage = 0; stage < pp; ++stage)
            EXPECT_EQ(activations(taught, l, stage) - activations(alone, l, stage),
                      train::teacher_pass_bytes(*taught.teacher,
                                                model::partition(*taught.teacher, {2, 0}, {pp, stage, 1}),
                                                shape(taught, l, Recompute::selective),
                                                stage == pp - 1 ? train::most_taught_ahead(pp) : 0))
                << "stage " << stage << " of " << pp;
    }
}

}  // namespace
}  // namespace espalier::test
