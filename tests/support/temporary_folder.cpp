#include "tests/support/temporary_folder.hpp"

#include <mpi.h>

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

namespace espalier::test {
namespace {

int world_rank() {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
    std::array<char, 1024> name{};
    if (world_rank() == 0) {
        std::string wanted = (std::filesystem::temp_directory_path() / "espalier-test-XXXXXX").string();
        if (wanted.size() < name.size() && mkdtemp(wanted.data())) wanted.copy(name.data(), wanted.size());
    }
    MPI_Bcast(name.data(), static_cast<int>(name.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
    if (name[0] == '\0') throw std::runtime_error("cannot make a temporary folder; is TMPDIR writable?");
    path_ = name.data();
}

TemporaryFolder::~TemporaryFolder() {
    MPI_Barrier(MPI_COMM_WORLD);
    std::error_code ignored;
    if (world_rank() == 0) std::filesystem::remove_all(path_, ignored);
}

}  // namespace espalier::test
