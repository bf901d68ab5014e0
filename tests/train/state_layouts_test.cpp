// A loss on hidden states is the serial one on every grid of this run's ranks: its sum and weight, the
// student's gradients, the projection's. Teacher and student differ in width and depth, so that states meet
// in the pipeline on some grids and travel from the teacher's own on others.
#include <gtest/gtest.h>

#include "kernels/elementwise.hpp"
#include "src/distill/objective.hpp"
#include "src/distill/state_loss.hpp"
#include "src/train/gradient_reducer.hpp"
#include "src/train/optimizer.hpp"
#include "src/train/teacher_grid.hpp"
#include "tests/model/tiny_models.hpp"
#include "tests/support/tolerance.hpp"
#include "tests/train/random_step.hpp"
#include "tests/train/same_gradients.hpp"

namespace espalier::train {
namespace {

constexpr test::StepSize sizes{5, 2, 7};

struct Setting {
    model::Architecture student, teacher;
    distill::StateTerms terms;
};

struct Grids {
    comm::Topology student;
    comm::Topology teacher;
    int virtual_stages = 1;
    model::Recompute recompute = model::Recompute::selective;
};

struct Result {
    distill::LossSums sums;
    distill::StateSums states;
    double norm = 0;
    test::Values d_projection;  // whole, summed over ranks
    bool met_in_pipeline = false;
    Range share;
    std::unique_ptr<model::Transformer> student;
};

/// A teacher on the student's grid, or, where its states are made elsewhere than the student's, on its own.
struct Teacher {
    Teacher(Context& ctx, const Setting& setting, const Grids& grids, bool in_pipeline) {
        const auto& a = setting.teacher;
        const auto &student = grids.student, &own = grids.teacher;
        if (in_pipeline) {
            whole = std::make_unique<model::Transformer>(ctx, a, student, DType::f32, model::Gradients::none,
                                                         grids.virtual_stages);
            test::randomise(*whole, 2);
            return;
        }
        const auto place =
            model::partition(a, {own.layout.tp, own.tensor.rank()}, {own.layout.pp, own.stage(), 1});
        whole = std::make_unique<model::Transformer>(ctx, a, model::without_head(place), own.tensor,
                                                     DType::f32, model::Gradients::none);
        head = std::make_unique<model::Transformer>(
            ctx, a,
            model::head_alone({student.layout.tp, student.tensor.rank()},
                              student.last_stage() ? model::Head::here : model::Head::elsewhere),
            student.tensor, DType::f32, model::Gradients::none);
        test::randomise(*whole, 2);
        test::randomise(*head, 2);
        std::vector<StateRoute> routes;
        for (const auto& pair : setting.terms.pairs)
            routes.push_back({pair.teacher, model::place_of_state(setting.student, student.layout.pp,
                                                                  grids.virtual_stages, pair.student)
                                                .stage});
        grid = std::make_unique<TeacherGrid>(student, own, *whole, routes);
    }
    distill::Teacher of(Context& ctx, const Tensor& hidden) {
        if (grid) return distill::live_teacher(*head, grid->next_hidden(ctx));
        return distill::live_teacher(*whole, hidden);
    }
    std::unique_ptr<model::Transformer> whole, head;
    std::unique_ptr<TeacherGrid> grid;
};

/// The second of two steps, so that what a teacher did ahead in the first is used.
Result step(Context& ctx, const Setting& setting, const Grids& grids) {
    const auto& topology = grids.student;
    Result out;
    out.met_in_pipeline = distill::meet_in_pipeline(setting.terms, setting.teacher, setting.student,
                                                    topology.layout.pp, grids.virtual_stages) &&
                          topology.layout.tp == grids.teacher.layout.tp &&
                          topology.layout.pp == grids.teacher.layout.pp;
    out.student = std::make_unique<model::Transformer>(ctx, setting.student, topology, DType::f32,
                                                       model::Gradients::keep, grids.virtual_stages);
    model::Transformer& student = *out.student;
    test::randomise(student, 1);
    Teacher teacher(ctx, setting, grids, out.met_in_pipeline);
    distill::Projection projection(ctx, setting.teacher.hidden, setting.student.hidden, DType::f32);
    projection.scatter(ctx, 3);
    constexpr double token_weight = 1.0 / static_cast<double>(sizes.micro_batches * sizes.tokens());
    distill::StateLoss states(setting.terms, student, topology, &projection);
    if (teacher.grid)
        states.take_from([&](Context& c, size_t pair) { return teacher.grid->next_state(c, pair); });
    distill::Objective objective(distill::parse_loss_terms("kl=1,ce=0.3", 1.5));
    const LossFunction loss = [&](const MicroBatch& batch, const Tensor& hidden,
                                  const Tensor& teacher_hidden) {
        const double before = objective.sums(ctx).divergence;
        const Tensor d_hidden = objective.backward(ctx, student, hidden, teacher.of(ctx, teacher_hidden),
                                                   batch.labels, token_weight);
        states.balance_with(objective.sums(ctx).divergence - before);
        return d_hidden;
    };
    Pipeline pipeline(topology, student, teacher.grid ? nullptr : teacher.whole.get(), grids.recompute,
                      &states);
    const std::vector<int64_t> tokens_of(sizes.micro_batches, sizes.tokens());

    for (const int64_t number : {1, 2}) {
        objective.reset();
        states.begin_step(token_weight);
        fill(ctx, 0.0f, student.gradients());
        fill(ctx, 0.0f, projection.gradients());
        const auto now = test::random_step(ctx, setting.student, topology, sizes, number),
                   next = number == 1 ? test::random_step(ctx, setting.student, topology, sizes, 2)
                                      : std::vector<MicroBatch>{};
        if (teacher.grid)
            teacher.grid->run(ctx, test::random_step(ctx, setting.student, grids.teacher, sizes, number),
                              tokens_of);
        pipeline.step(ctx, now, next, loss);
        topology.world.barrier();
    }
    const auto shards = make_shards(student.parameters(), topology.data);
    GradientReducer(student, topology, shards).finish(ctx);
    out.share = shards.mine();
    out.norm =
        gradient_norm(ctx, student.gradients(), runs_owned(ctx, student.parameters(), shards), topology);
    topology.world.all_reduce(ctx, projection.gradients());
    out.d_projection = test::values_of(projection.gradients());

    const bool speaks = topology.last_stage() && topology.tensor.rank() == 0;
    std::array<double, 4> sums{};
    if (speaks)
        sums = {objective.sums(ctx).divergence, objective.sums(ctx).label, states.sums().distance,
                states.sums().loss};
    topology.world.all_reduce(sums);
    out.sums = {sums[0], sums[1], 0};
    out.states = {sums[2], sums[3]};
    return out;
}

void expect_same(const Result& got, const Result& serial) {
    EXPECT_NEAR(got.sums.divergence, serial.sums.divergence, test::loss_tolerance * serial.sums.divergence);
    EXPECT_NEAR(got.states.distance, serial.states.distance, test::loss_tolerance * serial.states.distance);
    EXPECT_NEAR(got.states.loss, serial.states.loss, 2 * test::loss_tolerance * serial.states.loss);
    EXPECT_NEAR(got.norm, serial.norm, test::gradient_norm_tolerance * serial.norm);
    // 40: the roundings of a chain of about 4 layers, both ways
    const auto tolerance = test::tolerance(Device::cpu, DType::f32).times(40);
    EXPECT_TRUE(test::near_all(got.d_projection, serial.d_projection, tolerance));
    test::expect_same_gradients(*got.student, got.share, *serial.student, tolerance);
}

Setting setting_of(model::Architecture student, const std::string& map,
                   const std::string& distance = "cosine", const std::string& weight = "auto") {
    model::Architecture teacher = student;
    teacher.hidden += 5;
    for (auto& l : teacher.layers) l.ffn += 3;
    teacher.layers.push_back(teacher.layers.back());
    teacher.layers.push_back(teacher.layers.back());
    auto terms = distill::resolved(distill::parse_state_terms(map, distance, weight), teacher, "teacher",
                                   student, "student");
    return {std::move(student), std::move(teacher), std::move(terms)};
}

int world_size() {
    int ranks = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    return ranks;
}

std::vector<comm::Topology> all_grids(int64_t depth) {
    std::vector<comm::Topology> out;
    for (int tp = 1; tp <= world_size(); ++tp) {
        for (int pp = 1; tp * pp <= world_size() && pp <= depth; ++pp) {
            if (world_size() % (tp * pp) == 0) out.push_back(comm::make_topology(tp, pp));
        }
    }
    return out;
}

void expect_serial_results(const Setting& setting) {
    Context ctx({Device::cpu, 1});
    const Result serial = step(ctx, setting, {});
    ASSERT_GT(serial.states.loss, 0);

    for (const auto& grid : all_grids(setting.student.depth())) {
        for (int v = 1; grid.layout.pp * v <= setting.student.depth(); ++v) {
            SCOPED_TRACE(testing::Message()
                         << "tp " << grid.layout.tp << " pp " << grid.layout.pp << " virtual stages " << v);
            expect_same(step(ctx, setting, {grid, grid, v}), serial);
        }
    }
}

TEST(StateLayouts, EmbeddingBlocksAndNormsOfALlamaGiveTheSerialStep) {
    expect_serial_results(
        setting_of(test::tiny_llama(), "embedding,0:0,block:3:1,5:3,mlp:2:2,attention:4:3"));
}

TEST(StateLayouts, OfANemotronWithBiasesGiveTheSerialStep) {
    expect_serial_results(setting_of(test::tiny_nemotron(true), "embedding,4:2,block:3:2,mlp:1:0", "mse"));
}

TEST(StateLayouts, StatesThatMeetInThePipelineNeedNoGridOfTheTeachersOwn) {
    const Setting setting = setting_of(test::tiny_llama(), "embedding,5:3", "cosine", "0.7");
    Context ctx({Device::cpu, 1});
    const Result serial = step(ctx, setting, {});

    for (const auto& grid : all_grids(setting.student.depth())) {
        const Result got = step(ctx, setting, {grid, grid, 1});
        EXPECT_TRUE(got.met_in_pipeline);
        expect_same(got, serial);
    }
}

TEST(StateLayouts, ATeacherOnAnyGridIsAsGood) {
    const Setting setting = setting_of(test::tiny_llama(), "embedding,2:1,5:2,mlp:1:3");
    Context ctx({Device::cpu, 1});
    const Result serial = step(ctx, setting, {});

    for (const auto& student : all_grids(setting.student.depth())) {
        for (const auto& teacher : all_grids(3)) {
            SCOPED_TRACE(testing::Message()
                         << "student tp " << student.layout.tp << " pp " << student.layout.pp
                         << ", teacher tp " << teacher.layout.tp << " pp " << teacher.layout.pp);
            expect_same(step(ctx, setting, {student, teacher, 1}), serial);
        }
    }
}

TEST(StateLayouts, WhatIsComputedAgainIsTheSame) {
    const Setting setting = setting_of(test::tiny_nemotron(true), "embedding,4:2,mlp:1:0,attention:2:1");
    Context ctx({Device::cpu, 1});
    const auto grid = comm::make_topology(world_size(), 1);
    const Result serial = step(ctx, setting, {});

    for (const auto recompute : {model::Recompute::none, model::Recompute::full}) {
        SCOPED_TRACE(model::to_string(recompute));
        expect_same(step(ctx, setting, {grid, grid, 1, recompute}), serial);
    }
}

TEST(StateWatch, GivesOfAGatheredNormOutputThisRanksRowsAlone) {
    Context ctx({Device::cpu, 1});
    const auto grid = comm::make_topology(world_size(), 1);
    const model::StateName mlp{model::Site::mlp_input, 1};
    const int64_t rows = 8, columns = 3;
    const Tensor all =
        test::tensor_of(ctx, test::random_values(rows * columns, 1), {rows, columns}, DType::f32);
    const Range mine = comm::my_rows(grid.tensor, rows);
    Tensor got;
    model::StateWatch watch(grid.tensor, {mlp}, [&](Context&, size_t, const Tensor& x) { got = x; });

    watch.norm_output(ctx, {model::Site::attention_input, 1}, {}, all);
    EXPECT_FALSE(got);
    watch.norm_output(ctx, mlp, {}, all);

    EXPECT_TRUE(test::same_bits(got, all.rows(mine.begin, mine.size())));
    const bool inside = got.raw() >= all.raw() && got.raw() < all.raw() + all.bytes();
    EXPECT_EQ(inside, world_size() == 1);
}

}  // namespace
}  // namespace espalier::train
