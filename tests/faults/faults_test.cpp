// What the world does to a run: ranks that die, disks that fill.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "tests/faults/long_run.hpp"
#include "tests/io/tiny_disk.hpp"
#include "tests/jobs/metrics.hpp"

namespace espalier::test {
namespace {

namespace fs = std::filesystem;

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
    expect_refused({"train", "--model", world.path("model.h5"), "--data", world.path("tokens"), "--tokens",
                    "64", "--seq-len", "16", "--global-batch", "2"},
                   "run");
}

TEST(Faults, ADiskTooSmallForAFilesMetadataIsTheUsersError) {
    const TinyWorld world;
    const auto disk = TinyDisk::mount(8 << 10);
    if (!disk) GTEST_SKIP() << "no right to mount a small tmpfs here";
    for (const int ranks : {1, 2}) {
        const auto result = espalier(
            {"init", "--arch", world.path("arch.json"), "--out", (*disk / "m.h5").string(), "--quiet"},
            ranks);

        EXPECT_EQ(result.exit_code, 2) << result.err;
        EXPECT_NE(result.err.find("m.h5"), std::string::npos) << result.err;
        EXPECT_TRUE(disk->is_empty());
    }
}

/// The program, where no file may have more than 16 KiB.
ProcessResult espalier_limited(const std::vector<std::string>& words) {
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit low{16 << 10, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &low);
    auto result = espalier(words);
    setrlimit(RLIMIT_FSIZE, &before);
    return result;
}

TEST(Faults, AFileBeyondTheLimitIsTheUsersErrorAndLeavesNothing) {
    const TinyWorld world;
    const auto files = world.names();
    for (const auto& [arguments, out] : std::vector<std::pair<std::vector<std::string>, std::string>>{
             {{"init", "--arch", world.path("arch.json")}, "m.h5"},
             {{"export", "--model", world.path("model.h5")}, "hf"},
             {{"prune", "--model", world.path("model.h5"), "--importance", world.path("scores.h5"),
               "--hidden", "23"},
              "s.h5"}}) {
        auto words = arguments;
        words.insert(words.end(), {"--out", world.path(out), "--quiet"});

        const auto result = espalier_limited(words);

        EXPECT_EQ(result.exit_code, 2) << result.err;
        EXPECT_NE(result.err.find(out), std::string::npos) << result.err;
        EXPECT_EQ(world.names(), files);
    }
}

TEST(Faults, ARunWhoseModelMayNotBeWrittenDoesNotBegin) {
    const TinyWorld world;

    const auto result = espalier_limited(distill_arguments(world, "run"));

    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_NE(result.err.find("run/model.h5: files may not be that large"), std::string::npos) << result.err;
    EXPECT_FALSE(world.exists("run/metrics.jsonl"));
}

TEST(Faults, ARunOnADiskThatFillsGoesOnBitForBitOnceThereIsSpace) {
    const TinyWorld world;
    const auto disk = TinyDisk::mount(16 << 20);
    if (!disk) GTEST_SKIP() << "no right to mount a small tmpfs here";
    fs::create_directory(*disk / "run");
    fs::create_directory_symlink(*disk / "run", world.path("run"));
    const auto go = [&](const std::string& out, std::vector<std::string> more = {}) {
        more.insert(more.end(), {"--tp", "2", "--checkpoint-every", "2"});
        return espalier(distill_arguments(world, out, more), 2);
    };
    ASSERT_EQ(go("whole").exit_code, 0);
    ASSERT_EQ(go("run", {"--exit-after-steps", "2"}).exit_code, 3);
    // There is room for the model, which the run takes first, but for half a checkpoint only.
    const auto model = fs::file_size(world.path("model.h5")) + (2 << 20),
               checkpoint = fs::file_size(world.path("run/checkpoints/step-2.h5"));
    const fs::path ballast = *disk / "ballast";
    std::ofstream(ballast) << std::string(fs::space(ballast.parent_path()).available - model - checkpoint / 2,
                                          'x');

    const auto full = go("run");

    EXPECT_EQ(full.exit_code, 2) << full.err;
    EXPECT_NE(full.err.find("checkpoints/step-4.h5"), std::string::npos) << full.err;
    EXPECT_EQ(world.read("run/latest"), "checkpoints/step-2.h5\n");
    EXPECT_FALSE(world.exists("run/checkpoints/step-4.h5.partial"));
    fs::remove(ballast);
    EXPECT_EQ(go("run").exit_code, 0);
    EXPECT_EQ(metrics(world, "run", "loss"), metrics(world, "whole", "loss"));
}

}  // namespace
}  // namespace espalier::test
