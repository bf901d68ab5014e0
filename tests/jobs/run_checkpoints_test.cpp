// Which checkpoint a run goes on from, and which it keeps.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "tests/jobs/metrics.hpp"
#include "tests/jobs/outcome.hpp"

namespace espalier::test {
namespace {

TEST(RunCheckpoints, TakesTheCheckpointBeforeADamagedOne) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "whole")).exit_code, 0);
    const auto expect_passed_over = [&](const std::string& name,
                                        const std::function<void(std::string&)>& damage) {
        ASSERT_EQ(
            espalier(distill_arguments(world, name, {"--checkpoint-every", "2", "--exit-after-steps", "4"}))
                .exit_code,
            3);
        const std::string newest = name + "/checkpoints/step-4.h5";
        std::string content = world.read(newest);
        damage(content);
        world.write(newest, content);

        auto arguments = distill_arguments(world, name, {"--checkpoint-every", "2"});
        arguments.erase(std::find(arguments.begin(), arguments.end(), "--quiet"));
        const auto resumed = espalier(arguments);

        EXPECT_EQ(resumed.exit_code, 0);
        EXPECT_NE(resumed.err.find("step-4.h5"), std::string::npos) << resumed.err;
        EXPECT_NE(resumed.err.find("going on from the checkpoint before it"), std::string::npos)
            << resumed.err;
        EXPECT_NE(resumed.out.find("going on after step 2"), std::string::npos) << resumed.out;
        EXPECT_EQ(losses(world, name), losses(world, "whole"));
    };

    expect_passed_over("flipped",
                       [](std::string& c) { c[c.size() / 2] = static_cast<char>(c[c.size() / 2] ^ 1); });
    expect_passed_over("halved", [](std::string& c) { c.resize(c.size() / 2); });
    expect_passed_over("shortened", [](std::string& c) { c.pop_back(); });
    expect_passed_over("emptied", [](std::string& c) { c.clear(); });
}

TEST(RunCheckpoints, ADamagedCheckpointTakesNoPlaceOfThoseToKeep) {
    const TinyWorld world;
    const auto run = [&](const char* last) {
        return espalier(distill_arguments(
            world, "run", {"--checkpoint-every", "1", "--keep", "1", "--exit-after-steps", last}));
    };
    ASSERT_EQ(run("2").exit_code, 3);
    world.write("run/checkpoints/step-9.h5", "not a checkpoint");

    ASSERT_EQ(run("3").exit_code, 3);

    EXPECT_TRUE(world.exists("run/checkpoints/step-3.h5"));
    EXPECT_TRUE(world.exists("run/checkpoints/step-9.h5.damaged"));
    EXPECT_EQ(world.read("run/latest"), "checkpoints/step-3.h5\n");
}

TEST(RunCheckpoints, RefusesToStartOverWhereItsCheckpointsAreGone) {
    const TinyWorld world;
    const auto run = [&](const std::vector<std::string>& more) {
        return espalier(distill_arguments(world, "run", more));
    };
    ASSERT_EQ(run({"--exit-after-steps", "2"}).exit_code, 3);
    const std::string metrics = world.read("run/metrics.jsonl");
    const auto start_over = [&] {
        expect_refusal(run({}), {"latest names checkpoints/step-2.h5", "--force"});
        EXPECT_EQ(world.read("run/metrics.jsonl"), metrics);
    };

    std::filesystem::rename(world.path("run/checkpoints/step-2.h5"), world.path("elsewhere"));
    start_over();
    std::filesystem::remove(world.path("run/checkpoints"));
    start_over();

    std::filesystem::create_directory(world.path("run/checkpoints"));
    std::filesystem::rename(world.path("elsewhere"), world.path("run/checkpoints/step-2.h5"));
    EXPECT_EQ(run({}).exit_code, 0);
    EXPECT_EQ(losses(world, "run").size(), 6U);
}

TEST(RunCheckpoints, SaysWhereItsNewestCheckpointIsGone) {
    const TinyWorld world;
    ASSERT_EQ(
        espalier(distill_arguments(world, "run", {"--checkpoint-every", "2", "--exit-after-steps", "4"}))
            .exit_code,
        3);
    std::filesystem::remove(world.path("run/checkpoints/step-4.h5"));

    const auto run = espalier(distill_arguments(world, "run"));

    EXPECT_EQ(run.exit_code, 0);
    EXPECT_NE(run.err.find("latest names checkpoints/step-4.h5, which is not there"), std::string::npos)
        << run.err;
}

TEST(RunCheckpoints, KeepsAsManyCheckpointsAsAsked) {
    const TinyWorld world;

    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--checkpoint-every", "1", "--keep", "2"})).exit_code,
              0);

    EXPECT_FALSE(world.exists("run/checkpoints/step-4.h5"));
    EXPECT_TRUE(world.exists("run/checkpoints/step-5.h5"));
    EXPECT_TRUE(world.exists("run/checkpoints/step-6.h5"));
    EXPECT_EQ(world.read("run/latest"), "checkpoints/step-6.h5\n");
    EXPECT_TRUE(world.exists("run/model.h5"));
}

TEST(RunCheckpoints, MakeUpForAModelThatCouldNotBeWritten) {
    const TinyWorld world;
    const auto arguments = distill_arguments(world, "run", {"--checkpoint-every", "4"});
    ASSERT_EQ(espalier(arguments).exit_code, 0);
    const std::string model = world.read("run/model.h5");
    std::filesystem::remove(world.path("run/model.h5"));
    world.write("run/model.h5.partial", "what a killed run left");

    auto again = arguments;
    again.insert(again.end(), {"--summary", world.path("summary.json")});
    ASSERT_EQ(espalier(again).exit_code, 0);

    EXPECT_EQ(nlohmann::json::parse(world.read("summary.json")).at("loss"), losses(world, "run").back());
    EXPECT_EQ(losses(world, "run").size(), 6U) << "no step was done again";
    EXPECT_EQ(world.read("run/model.h5").size(), model.size());
    EXPECT_FALSE(world.exists("run/model.h5.partial"));
}

TEST(RunCheckpoints, AreNoFilesThatAUserPutBesideThem) {
    const TinyWorld world;
    const auto arguments = [&](const char* last) {
        return distill_arguments(world, "run",
                                 {"--checkpoint-every", "1", "--keep", "1", "--exit-after-steps", last});
    };
    ASSERT_EQ(espalier(arguments("2")).exit_code, 3);
    for (const char* name : {"step-best.h5", "step-3000-backup.h5", "step-.h5"})
        world.write(std::string("run/checkpoints/") + name, "mine");

    ASSERT_EQ(espalier(arguments("4")).exit_code, 3);

    for (const char* name : {"step-best.h5", "step-3000-backup.h5", "step-.h5"})
        EXPECT_EQ(world.read(std::string("run/checkpoints/") + name), "mine");
    EXPECT_EQ(world.read("run/latest"), "checkpoints/step-4.h5\n");
    EXPECT_EQ(losses(world, "run").size(), 4U);
}

#ifdef ESPALIER_MISHAPS
TEST(RunCheckpoints, LeavesACheckpointAsItIsThatTheSystemDoesNotLetItRead) {
    const TinyWorld world;
    ASSERT_EQ(
        espalier(distill_arguments(world, "run", {"--checkpoint-every", "2", "--exit-after-steps", "4"}))
            .exit_code,
        3);
    const auto expect_refused = [&](const std::string& mishap, const char* reason, int exit_code) {
        const auto run = espalier(distill_arguments(world, "run"), 1,
                                  {"LD_PRELOAD=" ESPALIER_MISHAPS, mishap + "=step-4.h5"});
        EXPECT_EQ(run.exit_code, exit_code) << run.err;
        EXPECT_NE(run.err.find("step-4.h5: " + std::string(reason)), std::string::npos) << run.err;
        EXPECT_TRUE(world.exists("run/checkpoints/step-4.h5"));
        EXPECT_EQ(losses(world, "run").size(), 4U);
    };

    expect_refused("ESPALIER_CLOSED", "Permission denied", 2);
    expect_refused("ESPALIER_BAD_DISK", "Input/output error", 1);

    EXPECT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
}

TEST(RunCheckpoints, LatestNamesTheCheckpointThatItGoesOnFrom) {
    const TinyWorld world;
    ASSERT_EQ(
        espalier(distill_arguments(world, "run", {"--checkpoint-every", "2", "--exit-after-steps", "4"}))
            .exit_code,
        3);
    world.write("run/checkpoints/step-4.h5", "not a checkpoint");

    const auto before_a_step = espalier(distill_arguments(world, "run"), 1,
                                        {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_SIGNAL_AT=tokens.idx"});

    EXPECT_EQ(before_a_step.exit_code, 3) << before_a_step.err;
    EXPECT_EQ(world.read("run/latest"), "checkpoints/step-2.h5\n");
}

#endif

}  // namespace
}  // namespace espalier::test
