#include "src/comm/mpi.hpp"

#include <cstdlib>

#include "src/core/error.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier::comm {
namespace {

/// A launcher's count of tasks for this step, 0 where no launcher says.
int launched_tasks() {
    const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
    if (!tasks) tasks = std::getenv("SLURM_NTASKS");
    // In the shell of a batch script SLURM_* describe the allocation, but nothing was launched by srun.
    const bool in_step = std::getenv("SLURM_PROCID") != nullptr && std::getenv("SLURM_STEP_ID") != nullptr;
    return tasks && in_step ? std::atoi(tasks) : 0;
}

bool launched_by_mpirun() {
    return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr;
}

}  // namespace

void check_mpi(int code, const char* call) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw InternalError(fmt::format("{} failed: {}", call, std::string(text, static_cast<size_t>(length))));
}

Mpi::Mpi(int& argc, char**& argv) {
    setenv("OMPI_MCA_io", "romio321", 0);
    if constexpr (has_cuda) {
        // Streams that share one of the device's queues wait for each other, and messages must never wait for
        // another lane's: a stage of a distillation has ten streams, and NCCL its own. CUDA has 8 queues
        // where nobody asks for more, at most 32, and 1 in many an environment made for other programs; it
        // reads this once, which may be in MPI_Init.
        setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1);
        // Sums in a switch differ from call to call (github.com/NVIDIA/nccl/issues/1497); runs repeat bit for
        // bit.
        setenv("NCCL_NVLS_ENABLE", "0", 0);
    }
    // One rank started by hand needs no runtime daemon beside it, nor the folder under /tmp that all such
    // ranks of a user share: one that ends removes it from under another that begins.
    if (!launched_by_mpirun() && launched_tasks() == 0) {
        setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
        setenv("OMPI_MCA_orte_create_session_dirs", "0", 0);
    }
    int provided = 0;
    CHECK_MPI(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided));
    ESPALIER_REQUIRE(
        provided >= MPI_THREAD_FUNNELED,
        "this MPI was built without threads, and Espalier computes with several; use one that has "
        "them, as Open MPI does unless it is configured otherwise");
    CHECK_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    CHECK_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
    CHECK_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size_));
    const int tasks = launched_tasks();
    ESPALIER_REQUIRE(
        launched_by_mpirun() || tasks <= 1 || tasks == size_,
        "the launcher started {} tasks but MPI sees {}: the ranks did not find each other.\n"
        "  start with `srun --mpi=pmix` (see `srun --mpi=list`), or with mpirun inside the allocation",
        tasks, size_);
}

Mpi::~Mpi() {
    // While an exception unwinds, other ranks may wait in a collective: abort() ends them, finalize would
    // hang.
    if (!unwinding_.under_way()) MPI_Finalize();
}

void Mpi::abort(int exit_code) const {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::abort();
}

}  // namespace espalier::comm
