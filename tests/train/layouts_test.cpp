// The same step on every grid that the ranks of this run can form: loss, gradient norm and trained weights
// are the serial ones. Nothing divides: 9 query heads, 4 layers of different widths, odd vocabularies.
#include <gtest/gtest.h>

#include "kernels/elementwise.hpp"
#include "src/distill/objective.hpp"
#include "src/train/gradient_sync.hpp"
#include "src/train/optimizer.hpp"
#include "src/train/pipeline.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/train/same_gradients.hpp"

namespace espalier::train {
namespace {

constexpr int64_t batch_size = 2, seq = 7, micro_batches = 5;

struct Result {
    distill::LossSums sums;
    double norm = 0;
    Range share;  // of the flat buffers: where this replica has the sum of the gradients
    std::unique_ptr<model::Transformer> student;
};

model::Architecture teacher_of(model::Architecture a) {
    a.hidden += 5;
    for (auto& l : a.layers) l.ffn += 3;
    return a;
}

/// This replica's micro-batches of step `number`.
std::vector<MicroBatch> read_step(Context& ctx, const model::Architecture& a, const comm::Topology& topology,
                                  int64_t number) {
    const Range mine = split_evenly(micro_batches, topology.layout.dp, topology.data.rank());
    std::vector<MicroBatch> batches;
    for (int64_t m = mine.begin; m < mine.end; ++m) {
        const auto seed = static_cast<uint64_t>(1000 * number + m);
        const auto ids = test::random_ids(batch_size * seq, a.vocab, seed);
        batches.push_back({model::make_batch(ctx, ids, batch_size, seq),
                           test::labels_of(ctx, test::random_ids(batch_size * seq, a.vocab, 100 + seed))});
    }
    return batches;
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
    const auto first = read_step(ctx, a, topology, 1), second = read_step(ctx, a, topology, 2);
    const LossFunction loss = [&](const MicroBatch& batch, const Tensor& hidden,
                                  const Tensor& teacher_hidden) {
        return objective.backward(ctx, *out.student, hidden, distill::live_teacher(teacher, teacher_hidden),
                                  batch.labels, 1.0 / (micro_batches * batch_size * seq));
    };
    Optimizer optimizer(ctx, *out.student, {}, topology.data);
    Pipeline pipeline(topology, *out.student, &teacher, recompute);

    pipeline.step(ctx, first, second, loss);
    objective.reset();
    fill(ctx, 0.0f, out.student->gradients());
    pipeline.step(ctx, second, {}, loss);
    synchronise_gradients(ctx, *out.student, topology, optimizer.shards());
    out.norm = gradient_norm(ctx, out.student->gradients(), optimizer.owned(), topology);
    out.share = optimizer.shards().mine();
    optimizer.step(ctx, 1, 1e-2, 1.0);

    const bool speaks = topology.last_stage() && topology.tensor.rank() == 0;
    std::array<double, 3> sums{};
    const auto& mine = objective.sums(ctx);
    if (speaks) sums = {mine.divergence, mine.label, mine.tokens};
    topology.world.all_reduce(sums);
    out.sums = {sums[0], sums[1], sums[2]};
    return out;
}

void expect_same(const Result& got, const Result& serial) {
    const auto tolerance = test::tolerance(Device::cpu, DType::f32)
                               .times(40);  // roundings of a chain of about 4 layers, both ways

    EXPECT_EQ(got.sums.tokens, serial.sums.tokens);
    EXPECT_NEAR(got.sums.divergence, serial.sums.divergence, 1e-5 * serial.sums.divergence);
    EXPECT_NEAR(got.sums.label, serial.sums.label, 1e-5 * serial.sums.label);
    EXPECT_NEAR(got.norm, serial.norm, 1e-4 * serial.norm);
    test::expect_same_gradients(*got.student, got.share, *serial.student, tolerance);
}

void expect_serial_results(const model::Architecture& a) {
    Context ctx({Device::cpu, 1});
    int ranks = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const Result serial = step(ctx, a, comm::Topology{});

    for (int tp = 1; tp <= ranks; ++tp) {
        for (int pp = 1; tp * pp <= ranks && pp <= a.depth(); ++pp) {
            if (ranks % (tp * pp) != 0) continue;
            for (int v = 1; pp * v <= a.depth(); ++v) {
                SCOPED_TRACE(testing::Message() << "tp " << tp << " pp " << pp << " dp " << ranks / (tp * pp)
                                                << " virtual stages " << v);
                expect_same(step(ctx, a, comm::make_topology(tp, pp), v), serial);
            }
        }
    }
}

TEST(Layouts, LlamaGivesTheSerialStep) {
    expect_serial_results(test::tiny_llama());
}

TEST(Layouts, TiedEmbeddingsOnBothEndsOfThePipelineStayOne) {
    auto a = test::tiny_llama();
    a.tied = true;
    expect_serial_results(a);
}

TEST(Layouts, NemotronWithBiasesGivesTheSerialStep) {
    expect_serial_results(test::tiny_nemotron(true));
}

TEST(Layouts, WhatIsComputedAgainIsTheSame) {
    Context ctx({Device::cpu, 1});
    int ranks = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    const auto topology = comm::make_topology(ranks, 1);
    const Result serial = step(ctx, test::tiny_nemotron(true), comm::Topology{});

    for (const auto recompute : {model::Recompute::none, model::Recompute::full}) {
        SCOPED_TRACE(model::to_string(recompute));
        expect_same(step(ctx, test::tiny_nemotron(true), topology, 1, recompute), serial);
    }
}

}  // namespace
}  // namespace espalier::train
