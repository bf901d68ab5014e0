// What a job leaves that a signal ends: what was there before it.
#include <gmock/gmock.h>

#include <csignal>
#include <filesystem>

#include "tests/jobs/program.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

#ifdef ESPALIER_MISHAPS
using Words = std::vector<std::string>;
constexpr const char* mishaps = "LD_PRELOAD=" ESPALIER_MISHAPS;

/// Ends the job as it opens a file whose name ends so.
void interrupt(const Words& arguments, const std::string& at) {
    const auto result = espalier(arguments, 1, {mishaps, "ESPALIER_INTERRUPT_AT=" + at});

    EXPECT_EQ(result.exit_code, 128 + SIGINT) << arguments.at(0) << ": " << result.err;
}

TEST(Ending, ByASignalLeavesNothingUnfinished) {
    const TinyWorld world;
    world.write("tokenizer.json", small_tokenizer().dump());
    world.write("text.txt", "in");
    world.write("requests.jsonl", R"({"context": [1], "continuation": [2]})");
    const std::string model = world.path("model.h5"), out = world.path("out");
    const auto before = world.names();
    const auto expect_nothing_left = [&](Words arguments, const std::string& at) {
        arguments.insert(arguments.end(), {"--out", out, "--quiet"});

        interrupt(arguments, at);

        EXPECT_EQ(world.names(), before) << arguments.at(0);
    };

    expect_nothing_left({"export", "--model", model}, "config.json.partial");
    expect_nothing_left(
        {"tokenize", "--tokenizer", world.path("tokenizer.json"), "--input", world.path("text.txt")},
        "out.idx.partial");
    expect_nothing_left({"prune", "--model", model, "--importance", world.path("scores.h5"), "--ffn", "20",
                         "--check", world.path("tokens")},
                        "out.unchecked");
    expect_nothing_left({"score", "--model", model, "--requests", world.path("requests.jsonl")},
                        "out.partial");
    expect_nothing_left({"teacher-cache", "--teacher", model, "--data", world.path("tokens"), "--samples",
                         "4", "--seq-len", "16"},
                        "teacher.h5.partial");
}

TEST(Ending, ByASignalLeavesARunThatGoesOn) {
    const TinyWorld world;
    const auto arguments = distill_arguments(world, "run", {"--checkpoint-every", "2"});
    const auto expect_whole_files = [&] {
        if (!world.exists("run")) return;  // as long as it has not begun
        for (const auto& entry : std::filesystem::recursive_directory_iterator(world.path("run"))) {
            const std::string name = entry.path().filename().string();
            EXPECT_FALSE(name.ends_with(".partial") || name.ends_with(".reserved")) << name;
        }
    };

    for (const char* moment : {"metrics.jsonl.partial", "step-2.h5.partial", "latest.partial"}) {
        interrupt(arguments, moment);
        expect_whole_files();
    }

    EXPECT_EQ(espalier(arguments).exit_code, 0);
    expect_whole_files();
}

TEST(Ending, DoesNotComeByASignalThatIsIgnored) {
    const TinyWorld world;
    const std::string command = "trap '' USR1; exec " ESPALIER_PROGRAM " export --quiet --model " +
                                world.path("model.h5") + " --out " + world.path("out");

    const auto result =
        run_process({"sh", "-c", command}, {mishaps, "ESPALIER_SIGNAL_AT=config.json.partial"});

    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(world.exists("out/config.json"));
}
#endif

}  // namespace
}  // namespace espalier::test
