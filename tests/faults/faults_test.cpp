// What the world does to a run: ranks that die, disks that fill.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/io/tiny_disk.hpp"
#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

std::vector<double> losses(const TinyWorld& world, const std::string& run) {
    std::vector<double> out;
    std::istringstream lines(world.read(run + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) out.push_back(nlohmann::json::parse(line).at("loss"));
    return out;
}

/// 160 steps, each with a checkpoint.
std::vector<std::string> long_run(const TinyWorld& world, const std::string& out) {
    auto arguments = distill_arguments(world, out, {"--tp", "2", "--checkpoint-every", "1"});
    *std::find(arguments.begin(), arguments.end(), "384") = "10240";
    return arguments;
}

TEST(Faults, ARunWhoseRankDiesEndsNonZeroAndGoesOnBitForBit) {
    const TinyWorld world;
    const auto mpirun = [&](const std::string& out) {
        std::vector<std::string> command{
            "mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n",
            "2",      ESPALIER_PROGRAM};
        const auto arguments = long_run(world, out);
        command.insert(command.end(), arguments.begin(), arguments.end());
        return command;
    };
    ASSERT_EQ(run_process(mpirun("whole"), {"OMP_NUM_THREADS=1"}).exit_code, 0);
    const auto whole = losses(world, "whole");
    ASSERT_EQ(whole.size(), 160U);

    for (const int step : {1, 10, 40, 90}) {
        std::vector<std::string> killed{KILL_A_RANK, world.path("run/metrics.jsonl"), std::to_string(step),
                                        world.path("run")};
        const auto command = mpirun("run");
        killed.insert(killed.end(), command.begin(), command.end());
        EXPECT_NE(run_process(killed, {"OMP_NUM_THREADS=1"}).exit_code, 0);
        EXPECT_FALSE(world.exists("run/model.h5"));
    }
    ASSERT_EQ(run_process(mpirun("run"), {"OMP_NUM_THREADS=1"}).exit_code, 0);

    EXPECT_EQ(losses(world, "run"), whole);
    EXPECT_EQ(espalier({"inspect", world.path("run/model.h5"), "--verify"}).exit_code, 0);
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
}

}  // namespace
}  // namespace espalier::test
