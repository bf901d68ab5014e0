// What the planner takes for Espalier's own practice against what a training run reckons with.
#include <gtest/gtest.h>

#include <algorithm>

#include "src/plan/memory.hpp"
#include "src/plan/step.hpp"
#include "src/train/memory.hpp"
#include "src/train/pipeline.hpp"
#include "tests/plan/cases.hpp"
#include "tests/train/played_pipeline.hpp"

namespace espalier::test {
namespace {

using model::Recompute;

/// A micro-batch of small_step()'s as a run has it.
train::StepShape shape(const plan::Step& step, const plan::Layout& l, Recompute recompute) {
    return {.sequences = l.micro_batch, .seq = step.seq_len, .dtype = step.dtype, .recompute = recompute};
}

void expect_planned_bytes(plan::Step step) {
    for (const DType dtype : {DType::bf16, DType::f32}) {
        step.dtype = dtype;
        for (const int tp : {1, 2}) {
            for (const auto& [recompute, name] : model::recompute_names) {
                const plan::Layout l{tp, 1, 1, 1, 2, recompute};
                const auto as_run = shape(step, l, recompute);
                const auto& a = step.model;
                SCOPED_TRACE(fmt::format("{}, {}", to_string(dtype), to_string(l)));

                EXPECT_EQ(plan::layer_activations(step, l, a, 0), train::saved_bytes(a, 0, {tp, 0}, as_run));
                EXPECT_EQ(plan::forward_bytes(step, l, a, 0), train::forward_bytes(a, 0, {tp, 0}, as_run));
                const int64_t again = recompute == Recompute::full
                                          ? train::saved_bytes(a, 0, {tp, 0}, shape(step, l, Recompute::none))
                                          : 0;
                EXPECT_EQ(plan::backward_bytes(step, l, a, 0),
                          train::backward_bytes(a, 0, {tp, 0}, as_run) + again);
            }
        }
    }
}

plan::Step gated_step() {
    auto step = small_step();
    step.model.activation = Activation::swiglu;
    return step;
}

/// With what Gemma 2 has beside others.
plan::Step gemma2_step() {
    auto step = gated_step();
    step.model.post_norms = true;
    step.model.final_soft_cap = 30;
    return step;
}

plan::Step parallel_step() {
    auto step = small_step();
    step.model.parallel_block = true;
    return step;
}

TEST(Espalier, LayersHoldThePlannedBytes) {
    auto normed_heads = gated_step();
    normed_heads.model.qk_norm_eps = 1e-6f;
    for (const auto& step : {gated_step(), normed_heads, gemma2_step(), parallel_step()})
        expect_planned_bytes(step);
}

TEST(Espalier, LastStagesHoldThePlannedBytes) {
    for (auto step : {gated_step(), gemma2_step()}) {
        for (const DType dtype : {DType::bf16, DType::f32}) {
            step.dtype = dtype;
            for (const int tp : {1, 2}) {
                const plan::Layout l{tp, 1, 1, 1, 2, Recompute::selective};
                auto run = shape(step, l, Recompute::selective);
                run.device = Device::cuda;
                const auto& a = step.model;
                const model::TensorPart tensor{tp, 0};
                plan::StepPartition partition(step);

                const auto planned = plan::memory(step, l, 0, partition);

                EXPECT_EQ(planned.activations + planned.logits,
                          train::activation_bytes(a, model::partition(a, tensor, {}), run) +
                              train::head_bytes(a, tensor, run, 1))
                    << to_string(dtype) << ", " << to_string(l);
            }
        }
    }
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
        const plan::Layout l{2, pp, 1, 1, 2, Recompute::selective};
        for (int stage = 0; stage < pp; ++stage)
            EXPECT_EQ(activations(taught, l, stage) - activations(alone, l, stage),
                      train::teacher_pass_bytes(*taught.teacher,
                                                model::partition(*taught.teacher, {2, 0}, {pp, stage, 1}),
                                                shape(taught, l, Recompute::selective),
                                                stage == pp - 1 ? model::most_taught_ahead(pp) : 0))
                << "stage " << stage << " of " << pp;
    }
}

/// Calls visit(pp, virtual stages, micro-batches) for small pipelines, multiples of pp or not, and fewer than
/// pp.
template <class Visit>
void for_each_pipeline(Visit visit) {
    for (int pp = 2; pp <= 5; ++pp) {
        for (int v = 1; v <= 3; ++v) {
            for (int64_t m = 1; m <= 3 * pp + 1; ++m) visit(pp, v, m);
        }
    }
}

double planned(const std::vector<double>& stages, int v, int64_t m) {
    const auto count = static_cast<double>(m);
    return count * *std::max_element(stages.begin(), stages.end()) + plan::bubble_seconds(stages, v, count);
}

TEST(Espalier, PipelinesTakeThePlannedTime) {
    for_each_pipeline([](int pp, int v, int64_t m) {
        // Equal stages, and a head that makes the last one slower.
        for (const double last : {1.0, 1.4}) {
            std::vector<StageCost> stages(pp, {1, 2});
            std::vector<double> seconds(pp, 3);
            stages.back() = {last, 2 * last};
            seconds.back() = 3 * last;

            EXPECT_NEAR(planned(seconds, v, m), played_seconds(stages, v, m).value(), 1e-9)
                << pp << " stages of " << v << ", the last of " << last << ", " << m << " micro-batches";
        }
    });
}

TEST(Espalier, StagesHoldAsManyMicroBatchesAsPlanned) {
    auto step = small_step();
    step.model.layers.assign(15, step.model.layers[0]);
    step.practice.stages = plan::Practice::Stages::even;
    plan::StepPartition partition(step);
    for_each_pipeline([&](int pp, int v, int64_t m) {
        // Runs of as many layers each; the first stage does not hold the head.
        const plan::Layout l{1, pp, v, 1, 1, Recompute::selective};
        if (15 % (pp * v) != 0) return;
        step.global_batch = m;
        const double of_a_run = 15.0 / (pp * v) * plan::layer_activations(step, l, step.model, 0),
                     layer = plan::backward_bytes(step, l, step.model, 0);
        for (int stage = 0; stage < pp - 1; ++stage) {
            int64_t held = 0, most = 0;
            for (const auto& task : train::pipeline_schedule({pp, stage, v}, m)) {
                held += task.work == train::Work::forward ? 1 : -1;
                most = std::max(most, held);
            }

            EXPECT_DOUBLE_EQ(plan::memory(step, l, stage, partition).activations,
                             static_cast<double>(most) * of_a_run + layer)
                << "stage " << stage << " of " << pp << " of " << v << ", " << m << " micro-batches";
        }
    });
}

}  // namespace
}  // namespace espalier::test
