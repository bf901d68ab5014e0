// What the world does to a run: ranks that die, disks that fill.
#include <gtest/gtest.h>

#include "tests/faults/long_run.hpp"
#include "tests/io/tiny_disk.hpp"

namespace espalier::test {
namespace {

TEST(Faults, ARunWhoseRankDiesEndsNonZeroAndGoesOnBitForBit) {
    const TinyWorld world;
    const LongRun whole(world, "whole", {"--tp", "2"}), run(world, "run", {"--tp", "2"});
    ASSERT_EQ(whole.go().exit_code, 0);
    ASSERT_EQ(whole.losses().size(), 160U);

    for (const int step : {1, 10, 40, 90}) {
        const auto killed = run.go_signalled(run.metrics() + ":" + std::to_string(step), "KILL", "1");
        EXPECT_EQ(killed.out, "signalled\n");
        EXPECT_NE(killed.exit_code, 0);
        EXPECT_FALSE(run.finished());
    }
    ASSERT_EQ(run.go().exit_code, 0);

    EXPECT_EQ(run.losses(), whole.losses());
    EXPECT_EQ(run.model(), whole.model());
}

TEST(Faults, TwoSignalsAtOnceAreOneWishToStop) {
    const TinyWorld world;
    const LongRun whole(world, "whole", {"--tp", "2"}), run(world, "run", {"--tp", "2"});
    ASSERT_EQ(whole.go().exit_code, 0);

    const auto stopped = run.go_signalled(run.metrics() + ":20", "TERM,USR1", "all");

    EXPECT_EQ(stopped.exit_code, 3) << stopped.err;
    EXPECT_FALSE(run.finished());
    EXPECT_FALSE(run.writes_checkpoint());
    ASSERT_EQ(run.go().exit_code, 0);
    EXPECT_EQ(run.losses(), whole.losses());
    EXPECT_EQ(run.model(), whole.model());
}

TEST(Faults, AFullDiskIsTheUsersErrorAndLeavesNothing) {
    const TinyWorld world;
    const auto disk = TinyDisk::mount(64 << 10);
    if (!disk) GTEST_SKIP() << "no right to mount a small tmpfs here";
    const auto expect_refused = [&](std::vector<std::string> arguments, const std::string& out) {
        arguments.insert(arguments.end(), {"--out", (*disk / out).string(), "--quiet"});

        const auto result = espalier(arguments, 2);

        EXPECT_EQ(result.exit_code, 2) << result.err;
        EXPECT_NE(result.err.find(out), std::string::npos) << result.err;
        EXPECT_TRUE(disk->is_empty());
    };

    expect_refused({"init", "--arch", world.path("arch.json")}, "m.h5");
    expect_refused({"export", "--model", world.path("model.h5")}, "hf");
    expect_refused({"prune", "--model", world.path("model.h5"), "--importance", world.path("scores.h5"),
                    "--hidden", "23"},
                   "s.h5");
    expect_refused({"teacher-cache", "--teacher", world.path("model.h5"), "--data", world.path("tokens"),
                    "--samples", "4", "--seq-len", "16"},
                   "cache");
}

}  // namespace
}  // namespace espalier::test
