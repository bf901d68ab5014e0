// --split: jobs that train take the first documents of a file as if there were no others, and measure on
// those held out. Megatron-LM's bounds for 77,20,3 of the 20 documents: round(0.77 x 20) = round(15.4) = 15
// and round(0.97 x 20) = round(19.4) = 19; of the 15: round(11.55) = 12 and round(14.55) = 15.
#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/indexed_dataset.hpp"
#include "tests/jobs/metrics.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/support/tolerance.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using Words = std::vector<std::string>;

class SplitData : public testing::Test {
protected:
    static constexpr const char* split = "77,20,3";

    SplitData() {
        write_documents("first", 0, 15);
        write_documents("second", 15, 19);
    }

    void write_documents(const std::string& name, int64_t begin, int64_t end) const {
        const io::IndexedDataset all(world.path("tokens"));
        io::IndexedDatasetWriter writer(world.path(name), 97, io::Existing::keep);
        for (int64_t d = begin; d < end; ++d) {
            std::vector<int32_t> ids(static_cast<size_t>(all.length(d)));
            all.read(d, 0, ids);
            writer.add(ids);
        }
        writer.finish();
    }

    Words distill(const std::string& out, const std::string& data, const Words& more) const {
        auto words = distill_arguments(world, out, more);
        std::replace(words.begin(), words.end(), world.path("tokens"), world.path(data));
        return words;
    }
    void expect_refused(const Words& words, const std::string& reason) const {
        expect_refusal(espalier(words), {reason});
    }
    /// The summary of a job that succeeds.
    json summary(Words words) const {
        words.insert(words.end(), {"--summary", world.path("summary.json"), "--quiet"});
        const auto result = espalier(words);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return json::parse(world.read("summary.json"));
    }
    json evaluated(const std::string& data, const Words& more) const {
        Words words{"evaluate", "--model",        world.path("model.h5"),
                    "--data",   world.path(data), "--seq-len",
                    "16",       "--dtype",        "f32"};
        words.insert(words.end(), more.begin(), more.end());
        return summary(words);
    }

    const TinyWorld world;
};

TEST_F(SplitData, RunsTrainOnTheFirstPartAndMeasureOnTheSecond) {
    ASSERT_EQ(espalier(distill("split", "tokens", {"--split", split, "--valid-every", "2"})).exit_code, 0);
    ASSERT_EQ(espalier(distill("files", "first", {"--valid", world.path("second"), "--valid-every", "2"}))
                  .exit_code,
              0);

    ASSERT_EQ(metrics(world, "split", "loss").size(), 6U);
    EXPECT_EQ(metrics(world, "split", "loss"), metrics(world, "files", "loss"));
    ASSERT_EQ(metrics(world, "split", "valid_loss").size(), 3U);
    EXPECT_EQ(metrics(world, "split", "valid_loss"), metrics(world, "files", "valid_loss"));
}

TEST_F(SplitData, OfABlendIsMeasuredOverTheSecondPartsOfAllFiles) {
    // At this rate no weight moves.
    const auto run = summary({"train",
                              "--model",
                              world.path("model.h5"),
                              "--data",
                              "3",
                              world.path("tokens"),
                              "1",
                              world.path("first"),
                              "--split",
                              split,
                              "--out",
                              world.path("run"),
                              "--tokens",
                              "64",
                              "--seq-len",
                              "16",
                              "--global-batch",
                              "4",
                              "--lr",
                              "1e-30",
                              "--min-lr",
                              "1e-30",
                              "--dtype",
                              "f32"});

    double sum = 0, tokens = 0;
    for (const char* data : {"tokens", "first"}) {
        const auto part = evaluated(data, {"--split", split});
        const double n = part.at("tokens");
        sum += n * part.at("loss").get<double>();
        tokens += n;
    }
    EXPECT_EQ(tokens, 55 + 56 + 57 + 58 - 1 + 52 + 53 + 54 - 1);
    EXPECT_NEAR(run.at("valid_loss").get<double>(), sum / tokens, loss_tolerance * sum / tokens);
}

TEST_F(SplitData, PartsOfAFileAreEvaluatedLikeFiles) {
    EXPECT_EQ(evaluated("tokens", {"--split", split, "--split-part", "train"}).at("loss"),
              evaluated("first", {}).at("loss"));
    EXPECT_EQ(evaluated("tokens", {"--split", split}).at("loss"), evaluated("second", {}).at("loss"));
    EXPECT_EQ(evaluated("tokens", {"--split", split, "--split-part", "test"}).at("tokens"), 59 - 1);
}

TEST_F(SplitData, ImportanceScoresTheFirstPart) {
    const auto importance = [&](const std::string& data, const Words& more) {
        Words words{"importance",
                    "--model",
                    world.path("model.h5"),
                    "--data",
                    world.path(data),
                    "--out",
                    world.path("i.h5"),
                    "--samples",
                    "8",
                    "--seq-len",
                    "16",
                    "--dtype",
                    "f32",
                    "--force"};
        words.insert(words.end(), more.begin(), more.end());
        return summary(words);
    };

    EXPECT_EQ(importance("tokens", {"--split", split}).at("loss"), importance("first", {}).at("loss"));
}

TEST_F(SplitData, ARunGoesOnWithItsOwnSplitOnly) {
    const Words own{"--split", split};
    ASSERT_EQ(espalier(distill("run", "tokens", {"--split", split, "--exit-after-steps", "2"})).exit_code, 3);

    expect_refused(distill("run", "tokens", {"--split", "90,10"}), "--split");
    expect_refused(distill("run", "tokens", {}), "--split");
    EXPECT_EQ(espalier(distill("run", "tokens", own)).exit_code, 0);
}

TEST_F(SplitData, ACacheIsOfTheDocumentsThatTrain) {
    ASSERT_EQ(espalier({"teacher-cache", "--teacher", world.path("model.h5"), "--data", world.path("tokens"),
                        "--split", split, "--out", world.path("cache"), "--samples", "24", "--seq-len", "16",
                        "--dtype", "f32", "--quiet"})
                  .exit_code,
              0);
    const auto run = [&](const Words& more) {
        Words words = distill("run", "tokens", more);
        words.insert(words.end(), {"--teacher-cache", world.path("cache")});
        return words;
    };

    expect_refused(run({}), "data (by hash)");
    expect_refused(run({"--split", "90,10"}), "data (by hash)");
    // What is held out of the rest is no matter of the cache.
    EXPECT_EQ(espalier(run({"--split", "77,23"})).exit_code, 0);
}

TEST_F(SplitData, SaysWhereNothingIsHeldOut) {
    auto words = distill("run", "first", {"--split", "969,30,1"});  // round(0.969 x 15) = 15

    const auto result = espalier(words);

    EXPECT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.err, HasSubstr("--split 969,30,1: the second part of --data has no text"));
    EXPECT_TRUE(metrics(world, "run", "valid_loss").empty());
}

TEST_F(SplitData, SharesThatCannotBeAreRefused) {
    expect_refused(distill("run", "tokens", {"--split", "9;1"}), "--split 9;1: give shares");
    expect_refused(distill("run", "tokens", {"--split", "0,0,0"}), "--split 0,0,0");
    expect_refused(distill("run", "tokens", {"--split", "1,99"}),
                   "none of the 20 documents of " + world.path("tokens"));
    const Words evaluate{"evaluate", "--model", world.path("model.h5"), "--data", world.path("tokens")};
    const auto with = [&](const Words& more) {
        Words words = evaluate;
        words.insert(words.end(), more.begin(), more.end());
        return words;
    };
    expect_refused(with({"--split-part", "test"}), "--split-part test: give --split");
    expect_refused(with({"--split", split, "--split-part", "dev"}), "--split-part dev: choose train");
    EXPECT_FALSE(world.exists("run"));
}

}  // namespace
}  // namespace espalier::test
