// Training runs that are told to stop: at a step, by a signal, by a file in their folder.
#include <gtest/gtest.h>

#include "tests/jobs/metrics.hpp"

namespace espalier::test {
namespace {

#ifdef ESPALIER_MISHAPS

TEST(RunStop, StopsBeforeItsNextStepOnASignalWhileItLoads) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "whole")).exit_code, 0);
    const auto stopped_while_loading = [&](int ranks) {
        return espalier(distill_arguments(world, "run"), ranks,
                        {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_SIGNAL_AT=tokens.idx"});
    };

    EXPECT_EQ(stopped_while_loading(2).exit_code, 3);
    EXPECT_FALSE(world.exists("run/metrics.jsonl"));
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);
    EXPECT_EQ(stopped_while_loading(1).exit_code, 3);
    EXPECT_EQ(losses(world, "run").size(), 2U);

    EXPECT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
    EXPECT_EQ(losses(world, "run"), losses(world, "whole"));
}

TEST(RunStop, StopsBeforeItsNextStepForAFileMadeWhileItLoads) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);

    const auto stopped = espalier(distill_arguments(world, "run"), 2,
                                  {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_MAKE_AT=tokens.idx",
                                   "ESPALIER_MAKE=" + world.path("run/stop")});

    EXPECT_EQ(stopped.exit_code, 3) << stopped.err;
    EXPECT_EQ(losses(world, "run").size(), 2U);
    EXPECT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
}

TEST(RunStop, StopsAtACheckpointForAFileInItsFolder) {
    const TinyWorld world;
    const auto run = [&](const std::string& out, const std::vector<std::string>& environment = {}) {
        return espalier(distill_arguments(world, out, {"--checkpoint-every", "2"}), 2, environment);
    };
    ASSERT_EQ(run("whole").exit_code, 0);

    const auto stopped = run("run", {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_MAKE_AT=step-2.h5.partial",
                                     "ESPALIER_MAKE=" + world.path("run/stop")});

    EXPECT_EQ(stopped.exit_code, 3) << stopped.err;
    EXPECT_EQ(losses(world, "run").size(), 3U);
    EXPECT_EQ(world.read("run/latest"), "checkpoints/step-3.h5\n");
    EXPECT_FALSE(world.exists("run/model.h5"));
    EXPECT_EQ(run("run").exit_code, 0) << "the file ends one start only";
    EXPECT_EQ(losses(world, "run"), losses(world, "whole"));
}

#endif

}  // namespace
}  // namespace espalier::test
