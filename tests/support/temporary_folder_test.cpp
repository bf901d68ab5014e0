#include "tests/support/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <mpi.h>

#include <fstream>
#include <optional>

namespace espalier::test {
namespace {

TEST(TemporaryFolder, IsTheSameForAllRanks) {
    const TemporaryFolder folder;
    int rank = 0, size = 1;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);

    std::ofstream(folder / std::to_string(rank)) << "here";
    MPI_Barrier(MPI_COMM_WORLD);

    for (int i = 0; i < size; ++i) EXPECT_TRUE(exists(folder / std::to_string(i)));
}

TEST(TemporaryFolder, IsGoneWithItsContentAtTheEnd) {
    std::optional<TemporaryFolder> folder(std::in_place);
    const auto path = folder->path();
    std::filesystem::create_directories(path / "inner/most");
    MPI_Barrier(MPI_COMM_WORLD);

    folder.reset();
    MPI_Barrier(MPI_COMM_WORLD);

    EXPECT_FALSE(exists(path));
}

}  // namespace
}  // namespace espalier::test
