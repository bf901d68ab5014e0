// A teacher on any grid gives the student's last stage, on any other grid, the hidden states of the serial
// one.
#include "src/train/teacher_grid.hpp"

#include <gtest/gtest.h>

#include "tests/model/tiny_models.hpp"
#include "tests/support/compare.hpp"

namespace espalier::train {
namespace {

constexpr int64_t seq = 7;
const std::vector<int64_t> tokens_of{2 * seq, 2 * seq, 2 * seq, 2 * seq, seq};  // the last one is smaller

class TeacherGridTest : public testing::Test {
protected:
    MicroBatch batch(int64_t m) {
        const int64_t tokens = tokens_of[static_cast<size_t>(m)];
        const auto ids = test::random_ids(tokens, a.vocab, static_cast<uint64_t>(m));
        return {model::make_batch(ctx, ids, tokens / seq, seq), {}};
    }

    test::Values serial_hidden(int64_t m) {
        const comm::Topology alone;
        model::Transformer teacher(ctx, a, alone, DType::f32, model::Gradients::none);
        test::randomise(teacher, 2);
        const MicroBatch b = batch(m);
        const Tensor x = teacher.forward(ctx, teacher.embed(ctx, b.tokens), b.tokens);
        return test::values_of(teacher.final_hidden(ctx, x, b.tokens));
    }

    void expect_serial_hidden(const comm::Topology& student, const comm::Topology& own) {
        const auto place =
            model::partition(a, {own.layout.tp, own.tensor.rank()}, {own.layout.pp, own.stage(), 1});
        model::Transformer body(ctx, a, model::without_head(place), own.tensor, DType::f32,
                                model::Gradients::none);
        test::randomise(body, 2);
        TeacherGrid grid(student, own, body);
        const auto all = std::ssize(tokens_of);
        std::vector<MicroBatch> mine;
        const Range taught = split_evenly(all, own.layout.dp, own.data.rank());
        for (int64_t m = taught.begin; m < taught.end; ++m) mine.push_back(batch(m));

        grid.run(ctx, mine, tokens_of);

        const Range used = split_evenly(all, student.layout.dp, student.data.rank());
        for (int64_t m = used.begin; student.last_stage() && m < used.end; ++m) {
            // 20: the roundings of a chain of 4 layers, forward only.
            EXPECT_TRUE(test::near_all(grid.next_hidden(ctx), serial_hidden(m),
                                       test::tolerance(Device::cpu, DType::f32).times(20)))
                << "micro-batch " << m;
        }
        // Every token's state is sent once and received once.
        auto bytes = static_cast<double>(grid.step_bytes(tokens_of));
        student.world.all_reduce({&bytes, 1});
        EXPECT_EQ(bytes, static_cast<double>(2 * 9 * seq * a.hidden * 4));
        student.world.barrier();
    }

    Context ctx{{Device::cpu, 1}};
    model::Architecture a = test::tiny_llama();
};

TEST_F(TeacherGridTest, BringsHiddenStatesFromAnyGridToAnyOther) {
    int ranks = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    std::vector<comm::Topology> grids;
    for (int tp = 1; tp <= std::min(ranks, 3); ++tp) {
        for (int pp = 1; tp * pp <= ranks && pp <= 3; ++pp) {
            if (ranks % (tp * pp) == 0) grids.push_back(comm::make_topology(tp, pp));
        }
    }
    for (const auto& student : grids) {
        for (const auto& own : grids) {
            SCOPED_TRACE(testing::Message()
                         << "student tp " << student.layout.tp << " pp " << student.layout.pp
                         << ", teacher tp " << own.layout.tp << " pp " << own.layout.pp);
            expect_serial_hidden(student, own);
        }
    }
}

}  // namespace
}  // namespace espalier::train
