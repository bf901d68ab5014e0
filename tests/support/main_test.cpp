#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/process.hpp"

namespace espalier::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

ProcessResult run_alone(const std::string& filter, const std::vector<std::string>& environment = {}) {
    return run_process({MISBEHAVING_TESTS, "--gtest_color=no", "--gtest_filter=" + filter}, environment);
}

ProcessResult run_on_two_ranks(const std::string& filter, const std::vector<std::string>& environment = {}) {
    return run_process({MPIEXEC, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2",
                        MISBEHAVING_TESTS, "--gtest_color=no", "--gtest_filter=" + filter},
                       environment);
}

TEST(TestMain, SucceedsWhenEveryTestPasses) {
    const auto result = run_alone("*.Passes");

    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
}

TEST(TestMain, FailsWhenNoTestMatchesTheFilter) {
    const auto result = run_alone("*.NoSuchTest");

    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.out, HasSubstr("no test ran"));
}

TEST(TestMain, PrintsPassesOnceForAllRanks) {
    const auto result = run_on_two_ranks("*.Passes");

    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    const auto first = result.out.find("[       OK ] Misbehaving.Passes");
    ASSERT_NE(first, std::string::npos);
    EXPECT_EQ(result.out.find("[       OK ] Misbehaving.Passes", first + 1), std::string::npos);
}

TEST(TestMain, FailsWithTheRankWhenOnlyAnotherRankFails) {
    const auto result = run_on_two_ranks("*.FailsOnTheLastRankOnly");

    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.out, HasSubstr("[ rank 1 ] Misbehaving.FailsOnTheLastRankOnly failed at"));
}

#ifdef ESPALIER_ASAN
TEST(TestMain, FailsWhenATestLeaks) {
    const auto result = run_alone("*.Leaks", {"ASAN_OPTIONS=detect_leaks=1"});

    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.err, HasSubstr("1000 byte(s) leaked"));
}
#endif

TEST(Watchdog, EndsATestThatHangsWithItsNameAndStack) {
    const auto result = run_alone("*.Waits", {"ESPALIER_TEST_TIMEOUT=1"});

    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.err, HasSubstr("[ rank 0 ] Misbehaving.Waits has not ended after 1 s"));
    EXPECT_THAT(result.err, HasSubstr("pause"));
}

TEST(Watchdog, EndsACollectiveThatARankDoesNotJoin) {
    const auto result = run_on_two_ranks("*.WaitsForARankThatDoesNotCome", {"ESPALIER_TEST_TIMEOUT=2"});

    EXPECT_NE(result.exit_code, 0);
    EXPECT_THAT(result.err, HasSubstr("[ rank 1 ] Misbehaving.WaitsForARankThatDoesNotCome has not ended"));
    EXPECT_THAT(result.err, HasSubstr("MPI_Barrier"));
}

TEST(RunProcess, GivesOutputAndExitCode) {
    const auto result = run_process({"sh", "-c", "echo $WORD; echo aside >&2; exit 7"}, {"WORD=said"});

    EXPECT_EQ(result.exit_code, 7);
    EXPECT_EQ(result.out, "said\n");
    EXPECT_EQ(result.err, "aside\n");
}

TEST(RunProcess, GivesTheSignalThatEndedTheProgram) {
    EXPECT_EQ(run_process({"sh", "-c", "kill -9 $$"}).exit_code, 128 + 9);
}

TEST(RunProcess, HidesThisProcessesMpiFromTheProgram) {
    EXPECT_THAT(run_process({"env"}).out, Not(AnyOf(HasSubstr("OMPI_COMM_WORLD"), HasSubstr("PMIX_"))));
}

}  // namespace
}  // namespace espalier::test
