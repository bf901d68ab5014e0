// Who may go on in the folder of a run.
#include "jobs/training/run_folder.hpp"

#include <gtest/gtest.h>

#include "io/publish.hpp"
#include "src/core/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::jobs {
namespace {

TEST(RunLock, OfARunThatAnotherStartFinishedMeanwhileIsRefused) {
    const test::TemporaryFolder folder;
    io::write_file(folder / "config.ini", "[train]\n");
    CommonOptions common;
    Options options("train", common);
    ASSERT_TRUE(options.parse({"--threads", "1"}, true));
    const Session session("train", options, common);
    RunLock lock(session, folder.path().string(), OldRun::goes_on);
    io::write_file(folder / "model.h5", "");

    EXPECT_THROW(lock.take(), UserError);
}

}  // namespace
}  // namespace espalier::jobs
