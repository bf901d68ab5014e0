// What main_test runs to see that the harness notices.
#include <gtest/gtest.h>
#include <mpi.h>
#include <unistd.h>

namespace {

int rank() {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

TEST(Misbehaving, Passes) {}

TEST(Misbehaving, FailsOnTheLastRankOnly) {
    int size = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &size);

    EXPECT_NE(rank(), size - 1);
}

TEST(Misbehaving, Leaks) {
    char* volatile block = new char[1000];
    ASSERT_NE(block, nullptr);
    block = nullptr;
}

TEST(Misbehaving, Waits) {
    for (;;) pause();
}

TEST(Misbehaving, WaitsForARankThatDoesNotCome) {
    if (rank() != 0) MPI_Barrier(MPI_COMM_WORLD);
}

}  // namespace
