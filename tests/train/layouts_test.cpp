// The same step on every grid that the ranks of this run can form: loss, gradients, their norm and the
// trained weights' loss are the serial ones. Nothing divides: 9 query heads, 4 layers of different widths,
// odd vocabularies.
#include <gtest/gtest.h>

#include <numeric>
#include <optional>

#include "kernels/elementwise.hpp"
#include "src/distill/objective.hpp"
#include "src/model/logits.hpp"
#include "src/model/stage.hpp"
#include "src/train/gradient_reducer.hpp"
#include "src/train/optimizer.hpp"
#include "src/train/pipeline.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/support/device.hpp"
#include "tests/support/tolerance.hpp"
#include "tests/train/random_step.hpp"
#include "tests/train/same_gradients.hpp"

namespace espalier::train {
namespace {

// On a device fewer than the most replicas: one of four has none.
const test::StepSize sizes{test::test_device() == Device::cuda ? 3 : 5, 2, 7};

struct Result {
    distill::LossSums sums;
    double norm = 0;
    double loss_after = 0;  // of the weights that the step gives
    Range share;            // of the flat buffers: where this replica has the sum of the gradients
    std::unique_ptr<model::Transformer> student;
};

model::Architecture teacher_of(model::Architecture a) {
    a.hidden += 5;
    for (auto& l : a.layers) l.ffn += 3;
    return a;
}

/// The sum of all replicas' losses.
double loss_of(Context& ctx, model::Transformer& model, const comm::Topology& topology,
               const std::vector<MicroBatch>& batches) {
    double sum = 0;
    model::Outbox outbox;
    for (const auto& b : batches) {
        const Tensor hidden = model::forward_pipeline(ctx, model, topology, b.tokens, outbox);
        if (!hidden) continue;
        const auto losses = model::token_losses(ctx, model, hidden, b.labels);
        if (topology.tensor.rank() == 0) sum += std::accumulate(losses.begin(), losses.end(), 0.0);
    }
    outbox.drain();
    topology.world.all_reduce({&sum, 1});
    return sum;
}

/// The second of two steps, so that what a teacher did ahead in the first is used.
Result step(Context& ctx, const model::Architecture& a, const comm::Topology& topology,
            int virtual_stages = 1, model::Recompute recompute = model::Recompute::selective) {
    Result out;
    out.student = std::make_unique<model::Transformer>(ctx, a, topology, DType::f32, model::Gradients::keep,
                                                       virtual_stages);
    model::Transformer teacher(ctx, teacher_of(a), topology, DType::f32, model::Gradients::none,
                               virtual_stages);
    test::randomise(*out.student, 1);
    test::randomise(teacher, 2);
    distill::Objective objective(distill::parse_loss_terms("kl=1,ce=0.3", 1.5));
    const auto first = test::random_step(ctx, a, topology, sizes, 1),
               second = test::random_step(ctx, a, topology, sizes, 2);
    const LossFunction loss = [&](const MicroBatch& batch, const Tensor& hidden,
                                  const Tensor& teacher_hidden) {
        return objective.backward(ctx, *out.student, hidden, distill::live_teacher(teacher, teacher_hidden),
                                  batch.labels,
                                  1.0 / static_cast<double>(sizes.micro_batches * sizes.tokens()));
    };
    Optimizer optimizer(ctx, *out.student, {}, topology.data);
    GradientReducer reducer(*out.student, topology, optimizer.shards());
    Pipeline pipeline(topology, *out.student, &teacher, recompute);

    pipeline.step(ctx, first, second, loss);
    objective.reset();
    fill(ctx, 0.0f, out.student->gradients());
    pipeline.step(ctx, second, {}, loss, &reducer);
    reducer.finish(ctx);
    out.norm = gradient_norm(ctx, out.student->gradients(), optimizer.owned(), topology);
    out.share = optimizer.shards().mine();
    optimizer.step(ctx, 1, 1e-2, 1.0);
    out.loss_after = loss_of(ctx, *out.student, topology, second);

    const bool speaks = topology.last_stage() && topology.tensor.rank() == 0;
    std::array<double, 3> sums{};
    const auto& mine = objective.sums(ctx);
    if (speaks) sums = {mine.divergence, mine.label, mine.tokens};
    topology.world.all_reduce(sums);
    out.sums = {sums[0], sums[1], sums[2]};
    return out;
}

class Layouts : public testing::Test {
protected:
    void SetUp() override {
        int rank = 0;
        MPI_Comm_rank(MPI_COMM_WORLD, &rank);
        MPI_Comm_size(MPI_COMM_WORLD, &ranks_);
        const auto options = test::on_test_device_of_rank(rank, ranks_);
        if (!options) GTEST_SKIP() << "needs " << ranks_ << " GPUs";
        ctx_.emplace(*options);
    }

    Result serial(const model::Architecture& a) { return step(*ctx_, a, comm::Topology{}); }
    Result on_grid(const model::Architecture& a, int tp, int pp, int virtual_stages = 1,
                   model::Recompute recompute = model::Recompute::selective) {
        const auto topology = comm::make_topology(tp, pp);
        comm::attach(topology, *ctx_, comm::Traffic::distillation, virtual_stages);
        return step(*ctx_, a, topology, virtual_stages, recompute);
    }

    void expect_same(const Result& got, const Result& serial) {
        const auto tolerance =
            test::tolerance(ctx_->device(), DType::f32).times(40);  // a chain of about 4 layers, both ways
        EXPECT_EQ(got.sums.tokens, serial.sums.tokens);
        EXPECT_NEAR(got.sums.divergence, serial.sums.divergence,
                    test::loss_tolerance * serial.sums.divergence);
        EXPECT_NEAR(got.sums.label, serial.sums.label, test::loss_tolerance * serial.sums.label);
        EXPECT_NEAR(got.norm, serial.norm, test::gradient_norm_tolerance * serial.norm);
        EXPECT_NEAR(got.loss_after, serial.loss_after, test::loss_tolerance * serial.loss_after);
        test::expect_same_gradients(*got.student, got.share, *serial.student, tolerance);
    }

    void expect_serial_results(const model::Architecture& a) {
        const Result alone = serial(a);
        for (int tp = 1; tp <= ranks_; ++tp) {
            for (int pp = 1; tp * pp <= ranks_ && pp <= a.depth(); ++pp) {
                if (ranks_ % (tp * pp) != 0) continue;
                // A lone stage on a device has no one to send to, itself included.
                const int most = pp == 1 && ctx_->on_gpu() ? 1 : static_cast<int>(a.depth()) / pp;
                for (int v = 1; v <= most; ++v) {
                    SCOPED_TRACE(testing::Message() << "tp " << tp << " pp " << pp << " dp "
                                                    << ranks_ / (tp * pp) << " virtual stages " << v);
                    expect_same(on_grid(a, tp, pp, v), alone);
                }
            }
        }
    }

    std::optional<Context> ctx_;
    int ranks_ = 1;
};

TEST_F(Layouts, LlamaGivesTheSerialStep) {
    expect_serial_results(test::tiny_llama());
}

TEST_F(Layouts, TiedEmbeddingsOnBothEndsOfThePipelineStayOne) {
    auto a = test::tiny_llama();
    a.tied = true;
    expect_serial_results(a);
}

TEST_F(Layouts, Qwen2GivesTheSerialStep) {
    expect_serial_results(test::tiny_qwen2());
}

TEST_F(Layouts, Qwen3WithBiasesGivesTheSerialStep) {
    expect_serial_results(test::tiny_qwen3(true));
}

TEST_F(Layouts, NemotronWithBiasesGivesTheSerialStep) {
    expect_serial_results(test::tiny_nemotron(true));
}

TEST_F(Layouts, Gemma2GivesTheSerialStep) {
    expect_serial_results(test::tiny_gemma2());
}

TEST_F(Layouts, PhiGivesTheSerialStep) {
    expect_serial_results(test::tiny_phi());
}

TEST_F(Layouts, WhatIsComputedAgainIsTheSame) {
    for (const auto& a :
         {test::tiny_nemotron(true), test::tiny_qwen3(), test::tiny_gemma2(), test::tiny_phi()}) {
        const Result alone = serial(a);
        for (const auto recompute : {model::Recompute::none, model::Recompute::full}) {
            SCOPED_TRACE(testing::Message()
                         << model::to_string(a.family) << " " << model::to_string(recompute));
            expect_same(on_grid(a, ranks_, 1, 1, recompute), alone);
        }
    }
}

}  // namespace
}  // namespace espalier::train
