// Training runs as a user starts, stops and resumes them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "io/journal.hpp"
#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "tests/jobs/metrics.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;

TEST(Run, ResumesBitForBitOnTheSameLayoutAndWithinRoundingOnAnother) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "whole", {"--tp", "2"}), 2).exit_code, 0);
    const auto whole = losses(world, "whole");
    ASSERT_EQ(whole.size(), 6U);

    EXPECT_EQ(
        espalier(distill_arguments(world, "same", {"--tp", "2", "--exit-after-steps", "2"}), 2).exit_code, 3);
    EXPECT_EQ(espalier(distill_arguments(world, "same", {"--tp", "2"}), 2).exit_code, 0);
    EXPECT_EQ(losses(world, "same"), whole);
    EXPECT_EQ(
        espalier(distill_arguments(world, "other", {"--tp", "2", "--exit-after-steps", "4"}), 2).exit_code,
        3);
    EXPECT_EQ(espalier(distill_arguments(world, "other", {"--pp", "3"}), 3).exit_code, 0);
    const auto other = losses(world, "other");
    ASSERT_EQ(other.size(), whole.size());
    for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(other[i], whole[i], loss_tolerance * whole[i]);
}

TEST(Run, TakesEachOptionOfItsOptimizer) {
    const TinyWorld world;
    const auto run = [&](const std::string& out, const std::vector<std::string>& more) {
        expect_done(espalier(distill_arguments(world, out, more)));
        return losses(world, out);
    };
    const auto whole = run("whole", {});
    std::set<double> last{whole.back()};

    for (const std::vector<std::string>& option : {std::vector<std::string>{"--adam-beta1", "0.5"},
                                                   {"--adam-beta2", "0.5"},
                                                   {"--adam-eps", "1e-2"},
                                                   {"--weight-decay", "0.9"},
                                                   {"--clip-grad", "0.01"}}) {
        const auto other = run("with" + option[0], option);
        EXPECT_EQ(other.front(), whole.front()) << option[0];
        EXPECT_TRUE(last.insert(other.back()).second) << option[0];
    }
    run("annealed", {"--lr-decay-style", "wsd", "--lr-wsd-decay-steps", "2", "--lr-wsd-decay-style", "linear",
                     "--min-lr", "0"});
    EXPECT_EQ(metrics(world, "annealed", "lr"), (std::vector<double>{1e-2, 1e-2, 1e-2, 1e-2, 5e-3, 0}));
}

TEST(Run, LeavesAFolderAsItWasWhereItsRunIsAnother) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);
    world.write("run/stop", "");
    const std::string config = world.read("run/config.ini");

    const auto refused = espalier(distill_arguments(world, "run", {"--weight-decay", "0.25"}));

    expect_refusal(refused, {"--weight-decay: 0.1 then, 0.25 now"});
    EXPECT_EQ(world.read("run/config.ini"), config);
    EXPECT_TRUE(world.exists("run/stop"));
}

TEST(Run, KeepsTheLinesOfStepsBehindOneThatIsNone) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "3"})).exit_code, 3);
    const std::string lines = world.read("run/metrics.jsonl");
    const size_t first = lines.find('\n') + 1;
    world.write("run/metrics.jsonl", lines.substr(0, first) + "{\"st\n" + lines.substr(first));

    ASSERT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);

    EXPECT_EQ(metrics(world, "run", "step"), (std::vector<double>{1, 2, 3, 4, 5, 6}));
}

TEST(Run, RefusesAModelWithWeightsThatAreNoNumbers) {
    const TinyWorld world;
    io::TensorFileReader from(world.path("model.h5"), MPI_COMM_SELF, "");
    io::TensorFileWriter to(world.path("nan.h5"), MPI_COMM_SELF, from.tensors(), io::Existing::keep);
    Context ctx({});
    for (const auto& spec : from.tensors()) {
        Tensor tensor = ctx.empty(spec.shape, spec.dtype);
        from.read(spec.name, whole(spec.shape), tensor);
        if (spec.name == "parameters/layers.2.up") tensor.span<float>()[3] = std::nanf("");
        to.write(spec.name, whole(spec.shape), tensor);
    }
    for (const char* name : {"format", "architecture", "provenance"}) to.attribute(name, from.text(name));
    to.attribute("format_version", static_cast<int64_t>(from.number("format_version")));
    to.publish();
    for (const int ranks : {1, 2}) {
        const auto refused =
            espalier({"train", "--model", world.path("nan.h5"), "--data", world.path("tokens"), "--out",
                      world.path("run"), "--tokens", "64", "--seq-len", "8", "--global-batch", "4", "--tp",
                      std::to_string(ranks), "--quiet"},
                     ranks);

        EXPECT_EQ(refused.exit_code, 2);
        EXPECT_NE(refused.err.find("nan.h5: layers.2.up holds values that are infinite or no numbers"),
                  std::string::npos)
            << refused.err;
        EXPECT_FALSE(world.exists("run"));
    }
}

TEST(Run, KnowsItsDataByWhatIsInTheFiles) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);
    const std::string tokens = world.read("tokens.bin");
    std::string other = tokens;
    std::rotate(other.begin(), other.begin() + 8, other.end());

    world.write("tokens.bin", other);
    const auto refused = espalier(distill_arguments(world, "run"));
    world.write("tokens.bin", tokens);

    expect_refusal(refused, {"--data"});
    EXPECT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
}

// The blend of one file draws 0.5 % more of it, and so orders it otherwise.
TEST(Run, TellsAFileFromABlendOfIt) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);
    auto blend = distill_arguments(world, "run");
    blend.insert(std::find(blend.begin(), blend.end(), world.path("tokens")), "1.0");

    const auto refused = espalier(blend);

    expect_refusal(refused, {"--data"});
}

// 1600 tokens of the 990 are 100 samples of 16; two steps take 8 of them.
TEST(Run, SaysHowOftenItGoesThroughItsData) {
    const TinyWorld world;
    auto arguments =
        distill_arguments(world, "run", {"--exit-after-steps", "2", "--summary", world.path("summary.json")});
    *(std::find(arguments.begin(), arguments.end(), "--tokens") + 1) = "1600";
    arguments.erase(std::find(arguments.begin(), arguments.end(), "--quiet"));

    const auto result = espalier(arguments);

    EXPECT_EQ(result.exit_code, 3);
    EXPECT_NE(result.out.find("100 samples are 1.6 epochs of " + world.path("tokens")), std::string::npos)
        << result.out;
    EXPECT_EQ(json::parse(world.read("summary.json")).at("epochs"), 8 * 16 / 990.0);
}

TEST(Run, RefusesToGoOnWithOtherOptions) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);

    const auto result = espalier(distill_arguments(world, "run", {"--temperature", "2"}));

    expect_refusal(result, {"--temperature"});
    const auto other_seed = espalier(distill_arguments(world, "run", {"--seed", "7"}));
    expect_refusal(other_seed, {"--seed: 1234 then, 7 now"});
    EXPECT_EQ(other_seed.err.find("sha256"), std::string::npos) << other_seed.err;
}

TEST(Run, IsTheOnlyOneInItsFolder) {
    const TinyWorld world;
    ASSERT_EQ(espalier(distill_arguments(world, "run", {"--exit-after-steps", "2"})).exit_code, 3);
    auto lock = io::try_lock(world.path("run/lock"));
    ASSERT_TRUE(lock) << "the lock ends with its holder";
    const std::string metrics = world.read("run/metrics.jsonl");

    const auto second = espalier(distill_arguments(world, "run", {"--force"}), 2);
    lock.reset();

    EXPECT_EQ(second.exit_code, 2) << second.err;
    EXPECT_NE(second.err.find(world.path("run") + ": another run is at work in it (process "),
              std::string::npos)
        << second.err;
    EXPECT_EQ(world.read("run/metrics.jsonl"), metrics);
    EXPECT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
}

TEST(Run, MayBeginInAFolderOfALockAlone) {
    const TinyWorld world;
    std::filesystem::create_directory(world.path("run"));
    world.write("run/lock", "process 1 on a machine that is gone");

    EXPECT_EQ(espalier(distill_arguments(world, "run")).exit_code, 0);
}

#ifdef ESPALIER_MISHAPS
TEST(Run, BringsTheNameOfItsFolderToTheDisk) {
    const TinyWorld world;

    const auto run = espalier(distill_arguments(world, "run"), 1,
                              {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_SYNCED=" + world.path("synced")});

    EXPECT_EQ(run.exit_code, 0) << run.err;
    const auto holder = std::filesystem::path(world.path("run")).parent_path();
    EXPECT_NE(world.read("synced").find(holder.string() + "\n"), std::string::npos);
}

TEST(Run, WarnsWhereAFileSystemHasNoLocks) {
    const TinyWorld world;

    const auto run =
        espalier(distill_arguments(world, "run"), 1, {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_NO_LOCKS=1"});

    EXPECT_EQ(run.exit_code, 0) << run.err;
    EXPECT_NE(run.err.find("warning: " + world.path("run") + ": the file system has no locks"),
              std::string::npos)
        << run.err;
}
#endif

TEST(Run, WarnsOnceOfAWarmUpThatLastsToItsEnd) {
    const TinyWorld world;
    const auto first_step = [&](const std::string& out, const std::string& warm_up) {
        const auto result = espalier(
            distill_arguments(world, out, {"--warmup-steps", warm_up, "--exit-after-steps", "1"}), 2);
        EXPECT_EQ(result.exit_code, 3) << result.err;
        return result.err;
    };

    EXPECT_EQ(first_step("shorter", "5").find("only rises"), std::string::npos);
    const std::string as_long = first_step("as-long", "6"), longer = first_step("longer", "8");
    EXPECT_NE(as_long.find("warning: --warmup-steps 6: the run has 6 steps"), std::string::npos) << as_long;
    EXPECT_EQ(as_long.find("only rises"), as_long.rfind("only rises")) << "rank 0 speaks for all";
    EXPECT_NE(longer.find("only rises, to 0.0075 at the last"), std::string::npos) << longer;

    const auto resumed = espalier(distill_arguments(world, "longer", {"--warmup-steps", "8"}), 2);
    EXPECT_EQ(resumed.exit_code, 0);
    EXPECT_EQ(resumed.err.find("only rises"), std::string::npos) << resumed.err;
}

TEST(Run, PublishesNoModelOfWeightsThatAreNotFinite) {
    const TinyWorld world;
    for (const int ranks : {1, 2}) {  // replicas
        const auto result = espalier({"train",
                                      "--model",
                                      world.path("model.h5"),
                                      "--data",
                                      world.path("tokens"),
                                      "--out",
                                      world.path("run"),
                                      "--tokens",
                                      "64",
                                      "--seq-len",
                                      "16",
                                      "--global-batch",
                                      "4",
                                      "--lr",
                                      "1e39",
                                      "--min-lr",
                                      "1e39",
                                      "--dtype",
                                      "f32",
                                      "--quiet"},
                                     ranks);

        expect_refusal(result, {"run/model.h5: not written", "lower --lr"});
        EXPECT_FALSE(world.exists("run/model.h5"));
    }
}

TEST(Run, ScoresHeldOutTextAndWritesItsConfig) {
    const TinyWorld world;

    ASSERT_EQ(espalier(distill_arguments(world, "run",
                                         {"--valid", world.path("tokens"), "--valid-every", "3", "--summary",
                                          world.path("s.json")}))
                  .exit_code,
              0);

    const auto lines = metrics(world, "run");
    EXPECT_TRUE(lines[2].at("tokens").is_number_integer());
    EXPECT_EQ(lines[2].at("tokens"), 3 * 4 * 16);
    EXPECT_TRUE(lines[2].contains("valid_loss"));
    EXPECT_FALSE(lines[3].contains("valid_loss"));
    const json summary = json::parse(world.read("s.json"));
    EXPECT_EQ(summary.at("valid_loss"), lines[5].at("valid_loss"));
    EXPECT_EQ(summary.at("steps"), 6);
    EXPECT_NE(world.read("run/config.ini").find("loss = kl=1,ce=1"), std::string::npos);
}

}  // namespace
}  // namespace espalier::test
