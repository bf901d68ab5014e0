// Where a run's time went, as its summary says.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

class Breakdown : public testing::Test {
protected:
    /// The summary of a run long enough that what ranks begin or end apart is small beside it.
    json summary(Words words, const Words& layout, int ranks) const {
        words.insert(words.end(), layout.begin(), layout.end());
        words.insert(words.end(), {"--summary", world.path("summary.json")});
        const auto result = espalier(words, ranks);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return json::parse(world.read("summary.json"));
    }
    json importance(const Words& layout, int ranks) const {
        return summary(
            {"importance", "--model", world.path("model.h5"), "--data", world.path("tokens"), "--samples",
             "1024", "--seq-len", "16", "--out", world.path("i.h5"), "--force", "--dtype", "f32", "--quiet"},
            layout, ranks);
    }
    json distill(const Words& layout, int ranks) const {
        auto words = distill_arguments(world, "run", {"--checkpoint-every", "40", "--force"});
        set_option(words, "--tokens", "8192");
        return summary(words, layout, ranks);
    }
    json train(const Words& layout, int ranks) const {
        return summary({"train",
                        "--model",
                        world.path("model.h5"),
                        "--data",
                        world.path("tokens"),
                        "--out",
                        world.path("run"),
                        "--tokens",
                        "8192",
                        "--seq-len",
                        "16",
                        "--global-batch",
                        "4",
                        "--valid",
                        world.path("tokens"),
                        "--valid-every",
                        "64",
                        "--force",
                        "--dtype",
                        "f32",
                        "--quiet"},
                       layout, ranks);
    }

    const TinyWorld world;
};

/// All parts are times, and they add up to that of the run.
void expect_whole(const json& summary) {
    double sum = 0;
    for (const auto& [part, seconds] : summary.at("breakdown").items()) {
        EXPECT_GE(seconds.get<double>(), 0.0) << part;
        sum += seconds.get<double>();
    }
    const double run = summary.at("tokens").get<double>() / summary.at("tokens_per_second").get<double>();
    // Ranks that share cores enter and leave a run of a tenth of a second some milliseconds apart.
    EXPECT_NEAR(sum, run, 0.05 * run + 0.02) << summary.at("breakdown");
}

/// Of the kinds of communication, a run on one rank has none, and one on a single axis that axis's and what
/// all ranks do together.
void expect_communication(const json& summary, const Words& expected) {
    for (const char* part : {"tensor", "pipeline", "data", "world"}) {
        const bool has = std::find(expected.begin(), expected.end(), part) != expected.end();
        EXPECT_EQ(summary.at("breakdown").contains(part), has) << part << summary.at("breakdown");
    }
    EXPECT_GT(summary.at("breakdown").at("compute"), 0.0);
    EXPECT_GT(summary.at("breakdown").at("io"), 0.0);
}

TEST_F(Breakdown, OfImportanceAddsUpAndNamesWhatItsLayoutSends) {
    const json serial = importance({}, 1), tp = importance({"--tp", "2"}, 2),
               pp = importance({"--pp", "2"}, 2), dp = importance({}, 2);

    for (const auto& s : {serial, tp, pp, dp}) expect_whole(s);
    expect_communication(serial, {});
    expect_communication(tp, {"tensor", "world"});
    expect_communication(pp, {"pipeline", "world"});
    expect_communication(dp, {"world"});  // replicas meet only in the sums at the end
}

TEST_F(Breakdown, OfDistillAddsUpAndNamesWhatItsLayoutSends) {
    const json serial = distill({}, 1), tp = distill({"--tp", "2"}, 2), pp = distill({"--pp", "2"}, 2),
               dp = distill({}, 2);

    for (const auto& s : {serial, tp, pp, dp}) expect_whole(s);
    expect_communication(serial, {});
    expect_communication(tp, {"tensor", "world"});
    expect_communication(pp, {"pipeline", "world"});
    expect_communication(dp, {"data", "world"});
}

TEST_F(Breakdown, OfTrainWithValidationAddsUp) {
    const json serial = train({}, 1), tp = train({"--tp", "2"}, 2), pp = train({"--pp", "2"}, 2),
               dp = train({}, 2);

    for (const auto& s : {serial, tp, pp, dp}) expect_whole(s);
    expect_communication(pp, {"pipeline", "world"});
}

TEST_F(Breakdown, CountsTheTeachersOwnGrid) {
    const json s = distill({"--teacher-tp", "2"}, 2);

    expect_whole(s);
    expect_communication(s, {"tensor", "data", "world"});
}

}  // namespace
}  // namespace espalier::test
