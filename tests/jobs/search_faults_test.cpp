// Searches that are stopped, killed, shared by jobs or damaged.
#include <gmock/gmock.h>

#include <filesystem>
#include <future>
#include <set>

#include "io/journal.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/jobs/search_calls.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

#ifdef ESPALIER_MISHAPS
TEST(Search, MakesTheModelOfTheLastSurvivorWhereItWasKilledAtThat) {
    const TinyWorld world;
    const std::string run = "c.json.runs/candidate-0/run";
    const auto arguments = retraining_arguments(world, "c.json", {"--rungs", "1", "--checkpoint-every", "2"});
    const auto killed =
        espalier(arguments, 1,
                 {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_INTERRUPT_AT=candidate-0/run/model.h5.partial"});
    ASSERT_NE(killed.exit_code, 0);
    ASSERT_FALSE(world.exists(run + "/model.h5"));

    expect_done(espalier(arguments));

    EXPECT_TRUE(world.exists(run + "/model.h5"));
    EXPECT_TRUE(candidates(world, "c.json").at(0).at("loss").is_number());
}
#endif

TEST(Search, MeasuresATrainedModelWhoseLinesTheDiskDidNotTake) {
    const TinyWorld world;
    const std::string run = "c.json.runs/candidate-0/run";
    const auto arguments = retraining_arguments(world, "c.json", {"--rungs", "1", "--candidate", "0"});
    expect_done(espalier(arguments));
    ASSERT_TRUE(world.exists(run + "/model.h5"));
    world.write(run + "/metrics.jsonl", "");
    const std::string results = world.read("c.json.runs/results.jsonl");
    world.write("c.json.runs/results.jsonl",
                results.substr(0, results.find('\n') + 1));  // the loss after the cut

    expect_done(espalier(arguments));

    EXPECT_EQ(lines_of(world, "c.json.runs/results.jsonl").size(), 2U);
}

TEST(Search, GoesOnWhereCandidatesDiverge) {
    const TinyWorld world;

    const auto result = espalier(ranking_arguments(
        world, "c.json", {"--retrain-tokens", "64", "--rungs", "1", "--lr", "1e39", "--min-lr", "1e39"}));

    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("weights that are not finite"));
    const json list = candidates(world, "c.json");
    EXPECT_EQ(list.size(), 4U);
    for (const auto& c : list) EXPECT_TRUE(c.at("loss").is_null()) << c;
}

TEST(Search, GivesTheSameFileHoweverOftenItIsStopped) {
    const TinyWorld world;
    expect_done(espalier(retraining_arguments(world, "whole.json")));

    int starts = 1;
    const auto go_on = [&] {
        return espalier(retraining_arguments(world, "stopped.json", {"--exit-after-minutes", "1e-9"}))
            .exit_code;
    };
    int code = go_on();
    for (; code == 3 && starts < 40; ++starts) code = go_on();

    EXPECT_EQ(code, 0);
    EXPECT_GT(starts, 6);  // four cuts, and a step at a time
    EXPECT_EQ(world.read("stopped.json"), world.read("whole.json"));
}

TEST(Search, LosesAndDoublesNothingWhenJobsShareIt) {
    const TinyWorld world;
    expect_done(espalier(retraining_arguments(world, "whole.json")));

    std::vector<std::future<ProcessResult>> jobs;
    for (const char* k : {"0", "1", "2", "3", "2"}) {
        jobs.push_back(std::async(std::launch::async, [&world, k] {
            return espalier(retraining_arguments(world, "shared.json", {"--candidate", k}));
        }));
    }
    for (auto& job : jobs) expect_done(job.get());
    std::set<std::pair<int64_t, int64_t>> seen;
    const auto lines = lines_of(world, "shared.json.runs/results.jsonl");
    for (const auto& line : lines) seen.emplace(line.at("candidate"), line.at("step"));
    EXPECT_EQ(seen.size(), lines.size());
    for (int64_t k = 0; k < 4; ++k) {
        EXPECT_TRUE(seen.contains({k, 0})) << k;
        EXPECT_TRUE(seen.contains({k, 2})) << k;
    }
    expect_done(espalier(retraining_arguments(world, "shared.json")));

    EXPECT_EQ(world.read("shared.json"), world.read("whole.json"));
}

TEST(Search, LeavesTheListToOneJobAndItsCandidatesToAll) {
    const TinyWorld world;
    const auto lock = io::try_lock(world.path("c.json.partial.lock"));
    ASSERT_TRUE(lock);
    const auto before = world.names();

    const auto second = espalier(ranking_arguments(world, "c.json"));

    expect_refusal(second, {"another job is writing it"});
    EXPECT_EQ(world.names(), before);
    expect_done(espalier(ranking_arguments(world, "c.json", {"--candidate", "1"})));
    EXPECT_EQ(lines_of(world, "c.json.runs/results.jsonl").size(), 1U);
}

TEST(Search, MeasuresAgainWhatATornLineHeld) {
    const TinyWorld world;
    expect_done(espalier(retraining_arguments(world, "c.json")));
    const std::string results = "c.json.runs/results.jsonl", whole = world.read("c.json");
    world.write(results, world.read(results).substr(0, world.read(results).size() - 3));

    std::filesystem::remove(world.path("c.json"));
    expect_done(espalier(retraining_arguments(world, "c.json")));

    EXPECT_EQ(world.read("c.json"), whole);
}

}  // namespace
}  // namespace espalier::test
