// The main of every test program: one GoogleTest run on all ranks, with one verdict. Started alone it is the
// run on one rank.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "src/core/device.hpp"
#include "src/core/has_cuda.hpp"
#include "tests/support/device.hpp"
#include "tests/support/leaks.hpp"
#include "tests/support/watchdog.hpp"

namespace espalier::test {
namespace {

void set_environment() {
    setenv("OMPI_MCA_io", "romio321", 0);
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
    // A rank started by hand needs no runtime daemon beside it.
    if (!std::getenv("OMPI_COMM_WORLD_SIZE")) setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
}

std::string name_of(const testing::TestInfo& info) {
    return std::string(info.test_suite_name()) + '.' + info.name();
}

/// What the ranks other than 0 print: their failures.
class FailuresOfRank : public testing::EmptyTestEventListener {
public:
    explicit FailuresOfRank(int rank) : rank_(rank) {}

    void OnTestStart(const testing::TestInfo& info) override { name_ = name_of(info); }

    // GoogleTest holds its lock here: asking it which test runs would wait for ever.
    void OnTestPartResult(const testing::TestPartResult& result) override {
        if (!result.failed()) return;
        std::printf("[ rank %d ] %s failed at %s:%d\n%s\n", rank_, name_.c_str(),
                    result.file_name() ? result.file_name() : "?", result.line_number(), result.message());
        std::fflush(stdout);
    }

private:
    int rank_;
    std::string name_ = "outside any test";
};

/// Every test has the watchdog's whole time.
class RestartWatchdog : public testing::EmptyTestEventListener {
public:
    explicit RestartWatchdog(Watchdog& watchdog) : watchdog_(watchdog) {}

    void OnTestStart(const testing::TestInfo& info) override { watchdog_.restart(name_of(info)); }

private:
    Watchdog& watchdog_;
};

constexpr int skipped = 77;

/// 0 when every rank ran tests and none failed; `skipped` where all that were to run skipped themselves.
int verdict(int run_result, int rank) {
    int worst = run_result != 0;
    MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    if (rank == 0 && worst != 0 && run_result == 0) {
        std::printf("[  FAILED  ] on another rank, see above\n");
    }
    const auto& tests = *testing::UnitTest::GetInstance();
    if (tests.test_to_run_count() == 0 && !GTEST_FLAG_GET(list_tests)) {
        if (rank == 0) std::printf("[  FAILED  ] no test ran\n");
        return 1;
    }
    return worst == 0 && tests.skipped_test_count() == tests.test_to_run_count() ? skipped : worst;
}

/// Whether the device that is to be tested is here; says so where it is not.
bool has_test_device() {
    if (test_device() == Device::cpu) return true;
    try {
        if constexpr (has_cuda) return device::count() > 0;
        std::printf("skipped: this build has no CUDA back end\n");
    } catch (const std::exception& error) {
        std::printf("skipped: %s\n", error.what());
    }
    return false;
}

int run(int argc, char** argv) {
    if (!has_test_device()) return skipped;
    int rank = 0;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);

    testing::InitGoogleTest(&argc, argv);
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    if (rank != 0) {
        delete listeners.Release(listeners.default_result_printer());
        listeners.Append(new FailuresOfRank(rank));
    }
    Watchdog watchdog(rank, watchdog_limit());
    listeners.Append(new RestartWatchdog(watchdog));
    return verdict(RUN_ALL_TESTS(), rank);
}

}  // namespace
}  // namespace espalier::test

int main(int argc, char** argv) {
    espalier::test::set_environment();
    {
        const espalier::test::IgnoreLeaks of_mpi;
        int provided = 0;
        MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    }
    const int result = espalier::test::run(argc, argv);
    espalier::test::check_for_leaks();
    MPI_Finalize();
    return result;
}
