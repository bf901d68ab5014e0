// Jobs that want to write the same output.
#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "io/journal.hpp"
#include "tests/jobs/program.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using Words = std::vector<std::string>;

Words export_to(const TinyWorld& world, const std::string& out) {
    return {"export", "--model", world.path("model.h5"), "--out", world.path(out), "--quiet"};
}

TEST(OutputLock, RefusesASecondJobAndLeavesTheFirstAlone) {
    const TinyWorld world;
    world.write("out.partial.lock", "process 1 on another machine");
    const auto lock = io::try_lock(world.path("out.partial.lock"));
    ASSERT_TRUE(lock);
    fs::create_directory(world.path("out.partial"));
    world.write("out.partial/model.safetensors", "half");
    const auto before = world.names();

    const auto second = espalier(export_to(world, "out/"), 2);

    EXPECT_EQ(second.exit_code, 2);
    EXPECT_THAT(second.err,
                HasSubstr(world.path("out") + ": another job is writing it (process 1 on another machine)"));
    EXPECT_EQ(world.names(), before);
    EXPECT_EQ(world.read("out.partial/model.safetensors"), "half");
}

TEST(OutputLock, LetsOneOfTwoThatStartTogetherWrite) {
    const TinyWorld world;
    const std::string command = std::string(ESPALIER_PROGRAM) + " export --quiet --model " +
                                world.path("model.h5") + " --out " + world.path("out"),
                      both = command + " & " + command + "; echo $?; wait $!; echo $?";

    const auto result = run_process({"sh", "-c", both});

    EXPECT_TRUE(result.out == "0\n2\n" || result.out == "2\n0\n") << result.out << result.err;
    EXPECT_EQ(
        espalier({"import", "--from", world.path("out"), "--out", world.path("m.h5"), "--quiet"}).exit_code,
        0);
}

TEST(OutputLock, TakesOverWhatAKilledJobLeft) {
    const TinyWorld world;
    auto expected = world.names();
    world.write("out.partial.lock", "process 1 on a machine that is gone");
    fs::create_directory(world.path("out.partial"));
    world.write("out.partial/model.safetensors", "half");

    EXPECT_EQ(espalier(export_to(world, "out")).exit_code, 0);

    expected.insert(std::upper_bound(expected.begin(), expected.end(), "out"), "out");
    EXPECT_EQ(world.names(), expected);
}

#ifdef ESPALIER_MISHAPS
TEST(OutputLock, IsTakenByEveryJobThatWritesOne) {
    const TinyWorld world;
    world.write("tokenizer.json", small_tokenizer().dump());
    world.write("requests.jsonl", R"({"context": [1], "continuation": [2]})");
    fs::create_directory(world.path("cache"));
    const std::string model = world.path("model.h5"), tokens = world.path("tokens"), out = world.path("out");
    ASSERT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
    ASSERT_EQ(espalier(export_to(world, "hf")).exit_code, 0);
    const auto before = world.names();
    const auto expect_locks = [&](const Words& arguments, const std::string& lock = "out.partial.lock") {
        const auto result =
            espalier(arguments, 1, {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_INTERRUPT_AT=" + lock});

        EXPECT_EQ(result.exit_code, 128 + SIGINT) << arguments.at(0) << ": " << result.err;
        EXPECT_EQ(world.names(), before) << arguments.at(0);
    };

    expect_locks({"import", "--from", world.path("hf"), "--out", out});
    expect_locks({"export", "--model", model, "--out", out});
    expect_locks({"init", "--arch", world.path("arch.json"), "--out", out});
    expect_locks({"tokenize", "--tokenizer", world.path("tokenizer.json"), "--input",
                  world.path("requests.jsonl"), "--out", out});
    expect_locks({"importance", "--model", model, "--data", tokens, "--samples", "2", "--out", out});
    expect_locks(
        {"prune", "--model", model, "--importance", world.path("scores.h5"), "--ffn", "20", "--out", out});
    expect_locks({"search", "--arch", world.path("arch.json"), "--params-min", "1", "--params-max", "1e9",
                  "--out", out});
    expect_locks({"score", "--model", model, "--requests", world.path("requests.jsonl"), "--out", out});
    expect_locks({"report", world.path("run"), "--out", out});
    expect_locks({"plan", "--calibrate", "--out", out});
    expect_locks({"teacher-cache", "--teacher", model, "--data", tokens, "--samples", "2", "--seq-len", "16",
                  "--out", world.path("cache")},
                 "cache/teacher.h5.partial.lock");
}
#endif

}  // namespace
}  // namespace espalier::test
