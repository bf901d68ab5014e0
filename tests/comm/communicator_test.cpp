#include "src/comm/communicator.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "src/comm/mpi_transport.hpp"
#include "src/comm/topology.hpp"
#include "src/core/random.hpp"
#include "tests/support/compare.hpp"

namespace espalier::comm {
namespace {

class CommunicatorTest : public testing::TestWithParam<int64_t> {
protected:
    Context ctx{{Device::cpu, 2}};
    Communicator world = make_topology(1, 1).world;
    int64_t rows = GetParam();

    double value(int64_t row, int64_t column, int rank) const {
        return static_cast<double>((row * 7 + column * 3 + rank * 5) % 17) - 8;
    }
    test::Values rows_of(Range range, int64_t columns, int rank) const {
        test::Values out;
        for (int64_t r = range.begin; r < range.end; ++r) {
            for (int64_t c = 0; c < columns; ++c) out.push_back(value(r, c, rank));
        }
        return out;
    }
    /// What the sum over all ranks of rows_of gives.
    test::Values sums_of(Range range, int64_t columns) const {
        test::Values out = rows_of(range, columns, 0);
        for (int r = 1; r < world.size(); ++r) {
            const auto part = rows_of(range, columns, r);
            for (size_t i = 0; i < out.size(); ++i) out[i] += part[i];
        }
        return out;
    }
};

// Integers of this size are exact in bf16, so that sums have no rounding and results must be equal.
const test::Tolerance exact{};
constexpr int64_t columns = 37;

TEST_P(CommunicatorTest, GathersUnevenRowsInOrder) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        const Range mine = my_rows(world, rows);
        const Tensor part = test::tensor_of(ctx, rows_of(mine, columns, 0), {mine.size(), columns}, dtype);

        const Tensor whole = world.all_gather(ctx, part, rows);

        EXPECT_TRUE(test::near_all(whole, rows_of({0, rows}, columns, 0), exact));
    }
}

TEST_P(CommunicatorTest, ScattersAndGathersUnevenPartsInPlace) {
    std::vector<int64_t> bounds{0};
    for (int r = 1; r < world.size(); ++r) bounds.push_back(std::min(rows, bounds.back() + 3 * r % 5));
    bounds.push_back(rows);
    const Range mine{bounds[static_cast<size_t>(world.rank())],
                     bounds[static_cast<size_t>(world.rank()) + 1]};
    Tensor flat = test::tensor_of(ctx, rows_of({0, rows}, 1, world.rank()), {rows}, DType::f32);

    world.reduce_scatter(ctx, flat, bounds);
    EXPECT_TRUE(test::near_all(flat.slice(mine.begin, {mine.size()}), sums_of(mine, 1), exact));

    world.all_gather(ctx, flat, bounds);
    EXPECT_TRUE(test::near_all(flat, sums_of({0, rows}, 1), exact));
}

TEST_P(CommunicatorTest, ScattersTheSumOverRanks) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
        const Tensor whole =
            test::tensor_of(ctx, rows_of({0, rows}, columns, world.rank()), {rows, columns}, dtype);

        const Tensor part = world.reduce_scatter(ctx, whole);

        EXPECT_TRUE(test::near_all(part, sums_of(my_rows(world, rows), columns), exact));
    }
}

TEST_P(CommunicatorTest, SumsOverRanks) {
    Tensor x = test::tensor_of(ctx, rows_of({0, rows}, columns, world.rank()), {rows, columns}, DType::f32);

    world.all_reduce(ctx, x);

    EXPECT_TRUE(test::near_all(x, sums_of({0, rows}, columns), exact));
}

TEST_P(CommunicatorTest, ReducesToTheSameBitsOnEveryRank) {
    // Numbers whose sum depends on the order in which they are added.
    test::Values own(static_cast<size_t>(rows * columns));
    for (size_t i = 0; i < own.size(); ++i) own[i] = uniform(i, static_cast<uint64_t>(world.rank())) - 0.5;
    Tensor x = test::tensor_of(ctx, own, {rows, columns}, DType::f32);

    world.all_reduce(ctx, x);

    std::vector<float> first(x.data<float>(), x.data<float>() + x.size());
    MPI_Bcast(first.data(), static_cast<int>(first.size()), MPI_FLOAT, 0, MPI_COMM_WORLD);
    EXPECT_EQ(std::memcmp(first.data(), x.data<float>(), first.size() * sizeof(float)), 0);
}

TEST_P(CommunicatorTest, ManyOperationsInARowDoNotMix) {
    for (int i = 0; i < 200; ++i) {
        Tensor x = test::tensor_of(ctx, {1.0 * i, 2.0}, {2}, DType::f32);

        world.all_reduce(ctx, x);

        ASSERT_EQ(x.data<float>()[0], static_cast<float>(i * world.size()));
    }
}

// One row; fewer rows than ranks; uneven; more than a slot of shared memory holds.
INSTANTIATE_TEST_SUITE_P(Rows, CommunicatorTest, testing::Values(1, 3, 101, 60000));

// What a network sees, also where all ranks share a node: in whole parts, and in pieces that end within them.
TEST_P(CommunicatorTest, MpiMovesPartsInPieces) {
    for (const int64_t longest : {MpiTransport::longest_piece, rows * columns / 20 + 7}) {
        MpiTransport mpi(world.handle(), longest);
        const std::vector<int64_t> offsets = even_offsets(rows, world.size(), columns);
        const Range mine = my_rows(world, rows);
        const auto elements = rows_of({0, rows}, columns, world.rank());
        const auto sums = sums_of({0, rows}, columns);
        for (const DType dtype : {DType::f32, DType::bf16}) {
            const Tensor whole = test::tensor_of(ctx, elements, {rows, columns}, dtype);
            Tensor part = ctx.empty({mine.size(), columns}, dtype);
            Tensor gathered = ctx.empty({rows, columns}, dtype);
            Tensor reduced = test::tensor_of(ctx, elements, {rows, columns}, dtype);

            mpi.reduce_scatter(ctx, whole, part, offsets);
            mpi.all_gather(ctx, part, gathered, offsets);
            mpi.all_reduce(ctx, reduced);

            EXPECT_TRUE(test::near_all(part, sums_of(mine, columns), exact));
            EXPECT_TRUE(test::near_all(gathered, sums, exact));
            EXPECT_TRUE(test::near_all(reduced, sums, exact));
        }
    }
}

TEST_P(CommunicatorTest, MpiKeepsTheOrderOfMessagesInPieces) {
    MpiTransport mpi(world.handle(), rows / 20 + 1);
    const int next = (world.rank() + 1) % world.size();
    const int before = (world.rank() + world.size() - 1) % world.size();
    std::vector<Request> sent;
    for (int i = 0; i < 2; ++i)
        sent.push_back(
            mpi.send(test::tensor_of(ctx, rows_of({i, rows + i}, 1, 0), {rows}, DType::f32), next, 5));

    for (int i = 0; i < 2; ++i) {
        Tensor x = ctx.empty({rows}, DType::f32);
        mpi.receive(x, before, 5).wait();
        EXPECT_TRUE(test::near_all(x, rows_of({i, rows + i}, 1, 0), exact));
    }
    for (auto& request : sent) request.wait();
}

TEST(Communicator, SerialOperationsAreTheIdentity) {
    Context ctx{{Device::cpu, 1}};
    const Communicator serial;
    const Tensor x = test::tensor_of(ctx, {1, 2, 3}, {3, 1}, DType::f32);

    EXPECT_EQ(serial.all_gather(ctx, x, 3).raw(), x.raw());
    EXPECT_EQ(serial.reduce_scatter(ctx, x).raw(), x.raw());
    EXPECT_EQ(serial.gather_equal(ctx, x).shape(), (Shape{1, 3, 1}));
}

TEST(Communicator, MessagesKeepTheirOrder) {
    Context ctx{{Device::cpu, 1}};
    const Communicator world = make_topology(1, 1).world;
    const int next = (world.rank() + 1) % world.size(),
              before = (world.rank() + world.size() - 1) % world.size();
    if (world.size() == 1) GTEST_SKIP() << "needs two ranks";
    std::vector<Request> sent;
    for (int i = 0; i < 3; ++i)
        sent.push_back(world.send(test::tensor_of(ctx, {1.0 * i}, {1}, DType::f32), next, 5));

    for (int i = 0; i < 3; ++i) {
        Tensor x = ctx.empty({1}, DType::f32);
        world.receive(x, before, 5).wait();
        EXPECT_EQ(x.data<float>()[0], static_cast<float>(i));
    }
    for (auto& request : sent) request.wait();
}

TEST(Topology, PlacesTensorParallelRanksNextToEachOther) {
    int size = 1, rank = 0;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (size != 4) GTEST_SKIP() << "needs four ranks";

    const Topology t = make_topology(2, 2);

    EXPECT_EQ(t.tensor.rank(), rank % 2);
    EXPECT_EQ(t.stage(), rank / 2);
    EXPECT_EQ(t.layout.dp, 1);
    EXPECT_EQ(t.ends.size(), 2);
}

TEST(Topology, RanksThatFillNoGridAreRefused) {
    int size = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &size);

    EXPECT_THROW(make_topology(size + 1, 1), UserError);
}

}  // namespace
}  // namespace espalier::comm
