// Samples of several documents: what runs do with --reset-attention and --mask-eod, on any layout, over
// stops, with any teacher, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/indexed_dataset.hpp"
#include "tests/jobs/metrics.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/support/tolerance.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

class DocumentsJobs : public testing::Test {
protected:
    DocumentsJobs() {
        expect_done(espalier({"init", "--arch", world.path("arch.json"), "--out", world.path("teacher.h5"),
                              "--seed", "5", "--quiet"}));
        write_tokens("short", {11, 2, 3, 7, 29, 1, 1, 5});
    }

    /// 60 documents of these lengths, over and over, each ended by token 7, which is nowhere else.
    void write_tokens(const std::string& name, const std::vector<int32_t>& lengths) const {
        io::IndexedDatasetWriter tokens(world.path(name), 97, io::Existing::keep);
        for (int32_t document = 0; document < 60; ++document) {
            std::vector<int32_t> ids;
            const int32_t length = lengths[static_cast<size_t>(document) % lengths.size()];
            for (int32_t i = 0; i + 1 < length; ++i) ids.push_back(10 + (31 * document + 17 * i) % 83);
            ids.push_back(7);
            tokens.add(ids);
        }
        tokens.finish();
    }

    ProcessResult run(const Words& job, const std::string& out, const Words& more, int ranks = 1) const {
        Words words = job;
        const auto give = [&](const char* option, const std::string& value) {
            if (std::find(more.begin(), more.end(), option) == more.end())
                words.insert(words.end(), {option, value});
        };
        give("--data", world.path("short"));
        give("--out", world.path(out));
        give("--tokens", "384");
        give("--seq-len", "16");
        give("--global-batch", "4");
        give("--lr", "1e-3");
        words.insert(words.end(), {"--dtype", "f32", "--quiet"});
        words.insert(words.end(), more.begin(), more.end());
        return espalier(words, ranks);
    }
    Words train() const { return {"train", "--model", world.path("model.h5")}; }
    Words distill() const { return {"distill", "--student", world.path("model.h5")}; }
    Words with_teacher(Words more) const {
        more.insert(more.end(), {"--teacher", world.path("teacher.h5")});
        return more;
    }
    static Words both(Words more = {}) {
        more.insert(more.end(), {"--reset-attention", "--mask-eod", "--eod", "7"});
        return more;
    }
    std::vector<double> values(const std::string& out, const char* key = "loss") const {
        return metrics(world, out, key);
    }

    const TinyWorld world;
};

TEST_F(DocumentsJobs, AStoppedRunGoesOnBitForBit) {
    expect_done(run(train(), "whole", both({"--valid", world.path("short")}), 2));

    ASSERT_EQ(run(train(), "r", both({"--exit-after-steps", "2"}), 2).exit_code, 3);
    expect_done(run(train(), "r", both(), 2));

    EXPECT_EQ(values("r"), values("whole"));
}

TEST_F(DocumentsJobs, ARunWithOtherDocumentsIsNotGoneOnWith) {
    ASSERT_EQ(run(train(), "r", both({"--exit-after-steps", "2"})).exit_code, 3);

    expect_refusal(run(train(), "r", {"--reset-attention", "--eod", "7"}), {"--mask-eod: true then, false"});
    expect_refusal(run(train(), "r", {"--mask-eod", "--eod", "7"}), {"--reset-attention: true then, false"});
    expect_refusal(run(train(), "r", {"--reset-attention", "--mask-eod", "--eod", "8"}),
                   {"--eod: 7 then, 8 now"});
}

TEST_F(DocumentsJobs, EachOptionChangesTheLoss) {
    const auto first = [&](const std::string& out, Words more) {
        more.insert(more.end(), {"--exit-after-steps", "1"});
        EXPECT_EQ(run(train(), out, more).exit_code, 3);
        return values(out).front();
    };

    const double plain = first("plain", {}),
                 confined = first("confined", {"--reset-attention", "--eod", "7"}),
                 masked = first("masked", {"--mask-eod", "--eod", "7"}), together = first("both", both()),
                 absent = first("absent", {"--reset-attention", "--mask-eod", "--eod", "8"});

    EXPECT_NE(confined, plain);
    EXPECT_NE(masked, plain);
    EXPECT_NE(together, confined);
    EXPECT_NE(together, masked);
    EXPECT_EQ(absent, plain);  // nothing ends a document
}

TEST_F(DocumentsJobs, LayoutsAndTheTeachersGridDoNotShow) {
    const Words what = both({"--hidden-map", "embedding,1:0,3:3,mlp:2:1", "--hidden-weight", "0.5"});
    const auto with = [&](Words more) {
        more.insert(more.end(), what.begin(), what.end());
        return with_teacher(more);
    };
    expect_done(run(distill(), "serial", with({})));

    const auto expect_serial = [&](const std::string& out, const Words& more, int ranks) {
        SCOPED_TRACE(out);
        expect_done(run(distill(), out, with(more), ranks));
        for (const char* key : {"loss", "hidden_loss", "grad_norm"})
            expect_near(values(out, key), values("serial", key), 2 * loss_tolerance);
    };
    expect_serial("tp2dp2", {"--tp", "2", "--micro-batch", "2"}, 4);
    expect_serial("pp2v2", {"--pp", "2", "--virtual-stages", "2", "--recompute", "full"}, 4);
    expect_serial("teacher", {"--pp", "2", "--teacher-tp", "2", "--teacher-pp", "1"}, 4);
}

TEST_F(DocumentsJobs, ACorrectedTeacherLearnsAsAlone) {
    expect_done(run(distill(), "both", with_teacher(both({"--correct-teacher", "--teacher-lr", "1e-2"})), 2));

    expect_done(run({"train", "--model", world.path("teacher.h5")}, "alone",
                    both({"--lr", "1e-2", "--min-lr", "1e-4"})));

    expect_near(values("both", "teacher_loss"), values("alone"), loss_tolerance);
}

TEST_F(DocumentsJobs, ACacheIsUsedWhereItsAttentionWasReset) {
    const auto cache = [&](const std::string& out, const Words& more) {
        Words words{"teacher-cache",     "--teacher", world.path("teacher.h5"), "--data",
                    world.path("short"), "--out",     world.path(out)};
        for (const char* word : {"--samples", "24", "--seq-len", "16", "--dtype", "f32", "--quiet"})
            words.emplace_back(word);
        words.insert(words.end(), more.begin(), more.end());
        expect_done(espalier(words));
    };
    cache("reset", {"--reset-attention", "--eod", "7"});
    cache("crossing", {});
    const auto use = [&](const char* name, Words more) {
        more.insert(more.end(), {"--teacher-cache", world.path(name)});
        return run(distill(), "cached", more);
    };

    expect_refusal(use("crossing", both()), {"--reset-attention", "is -1", "is 7"});
    expect_refusal(use("reset", {}), {"--reset-attention", "is 7", "is -1"});
    expect_refusal(use("reset", {"--reset-attention", "--eod", "8"}), {"is 7", "is 8"});
    expect_done(run(distill(), "live", with_teacher(both())));
    expect_done(use("reset", both()));
    expect_near(values("cached"), values("live"), 2e-3);  // log p in steps of 5e-4
}

TEST_F(DocumentsJobs, TheMeanIsOverTheTokensThatAreLeft) {
    // Documents of one token and its end, each alone: whatever samples hold, the mean is the same.
    io::IndexedDatasetWriter tokens(world.path("pairs"), 97, io::Existing::keep);
    for (int i = 0; i < 300; ++i) tokens.add(std::vector<int32_t>{20, 7});
    tokens.finish();
    const Words job{"train",
                    "--model",
                    world.path("model.h5"),
                    "--data",
                    world.path("pairs"),
                    "--dtype",
                    "f32",
                    "--quiet",
                    "--eod",
                    "7",
                    "--lr",
                    "1e-3",
                    "--reset-attention",
                    "--mask-eod"};
    const auto train_on = [&](const std::string& out, const Words& samples) {
        Words words = job;
        words.insert(words.end(), {"--out", world.path(out)});
        words.insert(words.end(), samples.begin(), samples.end());
        expect_done(espalier(words, 2));
    };

    train_on("long", {"--seq-len", "15", "--global-batch", "4", "--tokens", "180"});
    train_on("single", {"--seq-len", "1", "--global-batch", "24", "--tokens", "72"});

    for (const char* key : {"loss", "grad_norm"})
        expect_near(values("long", key), values("single", key), loss_tolerance);
}

TEST_F(DocumentsJobs, StepsInWhichNothingCountsAreStepsWithoutLoss) {
    io::IndexedDatasetWriter tokens(world.path("ends"), 97, io::Existing::keep);
    tokens.add(std::vector<int32_t>(500, 7));
    tokens.finish();

    expect_done(run(distill(), "r", with_teacher(both({"--data", world.path("ends")}))));

    EXPECT_EQ(values("r"), std::vector<double>(6, 0.0));
    EXPECT_EQ(values("r", "grad_norm"), std::vector<double>(6, 0.0));
}

TEST_F(DocumentsJobs, AModelThatNamesItsEndNeedsNoOption) {
    std::string arch = world.read("arch.json");
    arch.insert(arch.find('{') + 1, R"("eos_token_id": 7, )");
    world.write("eos.json", arch);
    expect_done(
        espalier({"init", "--arch", world.path("eos.json"), "--out", world.path("eos.h5"), "--quiet"}));
    const Words job{"train", "--model", world.path("eos.h5")};
    expect_done(run(job, "named", both()));

    ASSERT_EQ(run(job, "r", {"--reset-attention", "--mask-eod", "--exit-after-steps", "2"}).exit_code, 3);
    expect_done(run(job, "r", both()));

    EXPECT_EQ(values("r"), values("named"));
}

TEST_F(DocumentsJobs, TheTokenizerInsideAModelKnowsBest) {
    std::string arch = world.read("arch.json");
    arch.replace(arch.find("97"), 2, "270");
    arch.insert(arch.find('{') + 1, R"("eos_token_id": 7, )");
    world.write("arch.json", arch);
    expect_done(
        espalier({"init", "--arch", world.path("arch.json"), "--out", world.path("mute.h5"), "--quiet"}));
    expect_done(espalier({"export", "--model", world.path("mute.h5"), "--out", world.path("hf"), "--quiet"}));
    world.write("hf/tokenizer.json", small_tokenizer().dump());
    world.write("hf/tokenizer_config.json", R"({"eos_token": "<eos>"})");
    expect_done(
        espalier({"import", "--from", world.path("hf"), "--out", world.path("speaking.h5"), "--quiet"}));
    const Words job{"train", "--model", world.path("speaking.h5")};

    ASSERT_EQ(run(job, "r", {"--mask-eod", "--exit-after-steps", "2"}).exit_code, 3);

    expect_refusal(run(job, "r", {"--mask-eod", "--eod", "7"}), {"--eod: 265 then, 7 now"});
    expect_done(run(job, "r", {"--mask-eod", "--eod", "265"}));
}

TEST_F(DocumentsJobs, WhatEvaluateSaysOfHeldOutTextIsWhatARunSays) {
    expect_done(
        run(train(), "r", both({"--valid", world.path("short"), "--summary", world.path("run.json")})));
    const auto loss = [&](const Words& more) {
        Words words{"evaluate",
                    "--model",
                    world.path("r/model.h5"),
                    "--data",
                    world.path("short"),
                    "--seq-len",
                    "16",
                    "--dtype",
                    "f32",
                    "--summary",
                    world.path("s.json"),
                    "--force",
                    "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        expect_done(espalier(words));
        return json::parse(world.read("s.json"));
    };

    const json masked = loss(both()), plain = loss({});

    const double valid = json::parse(world.read("run.json")).at("valid_loss");
    EXPECT_NEAR(masked.at("loss").get<double>(), valid, loss_tolerance * valid);
    EXPECT_NE(masked.at("loss"), plain.at("loss"));
    const double ends = 60 - 1;  // but for the last token of all, which nothing follows
    EXPECT_EQ(masked.at("tokens").get<double>(), plain.at("tokens").get<double>() - ends);
}

TEST_F(DocumentsJobs, ScoresComeFromWhatTrainingSees) {
    const auto loss = [&](const Words& more, int ranks) {
        Words words{"importance",
                    "--model",
                    world.path("model.h5"),
                    "--data",
                    world.path("short"),
                    "--out",
                    world.path("i.h5"),
                    "--samples",
                    "8",
                    "--seq-len",
                    "16",
                    "--dtype",
                    "f32",
                    "--summary",
                    world.path("s.json"),
                    "--force",
                    "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        expect_done(espalier(words, ranks));
        return json::parse(world.read("s.json")).at("loss").get<double>();
    };
    const Words reset{"--reset-attention", "--eod", "7"};
    expect_done(
        run(train(), "r", {"--tokens", "128", "--global-batch", "8", "--reset-attention", "--eod", "7"}));

    const double serial = loss(reset, 1);

    EXPECT_NEAR(serial, values("r").front(), loss_tolerance * serial);
    EXPECT_NEAR(loss({"--reset-attention", "--eod", "7", "--tp", "2"}, 2), serial, loss_tolerance * serial);
    EXPECT_NE(loss({}, 1), serial);
}

TEST_F(DocumentsJobs, WhatCannotBeIsRefused) {
    const auto refused = [&](const Words& more, const Words& says) {
        expect_refusal(run(train(), "refused", more), says);
        EXPECT_FALSE(world.exists("refused"));
    };

    refused({"--reset-attention"}, {"--reset-attention", "model.h5", "--eod ID"});
    refused({"--mask-eod"}, {"--mask-eod", "model.h5", "--eod ID"});
    refused({"--eod", "7"}, {"--eod 7", "--reset-attention or --mask-eod"});
    refused({"--mask-eod", "--eod", "97"}, {"--eod 97", "97 tokens", "0 to 96"});
    refused({"--mask-eod", "--eod", "-2"}, {"--eod -2", "0 to 96"});
    expect_refusal(espalier({"evaluate", "--model", world.path("model.h5"), "--requests", world.path("none"),
                             "--mask-eod", "--eod", "7"}),
                   {"--mask-eod", "--data"});
    expect_refusal(
        espalier({"prune", "--model", world.path("model.h5"), "--importance", world.path("scores.h5"),
                  "--ffn", "16", "--out", world.path("cut.h5"), "--reset-attention", "--eod", "7"}),
        {"--reset-attention", "--data", "importance"});
}

}  // namespace
}  // namespace espalier::test
