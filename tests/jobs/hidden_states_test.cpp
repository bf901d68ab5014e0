// Hidden states that a student should share with its teacher: what a run minimises and logs, on any layout,
// over stops, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/tensor_file.hpp"
#include "tests/jobs/metrics.hpp"
#include "tests/jobs/outcome.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

class HiddenStates : public testing::Test {
protected:
    HiddenStates() {
        world.write(
            "wide.json",
            R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 97, "hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": 6,
        "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})");
        expect_done(espalier({"init", "--arch", world.path("wide.json"), "--out", world.path("teacher.h5"),
                              "--seed", "5", "--quiet"}));
        expect_done(espalier({"init", "--arch", world.path("arch.json"), "--out", world.path("other.h5"),
                              "--seed", "9", "--quiet"}));
    }

    Words command(const std::string& out, const Words& more) const {
        Words words{"distill", "--data", world.path("tokens"), "--out", world.path(out)};
        for (const char* word :
             {"--tokens", "384", "--seq-len", "16", "--global-batch", "4", "--lr", "1e-3", "--dtype", "f32"})
            words.emplace_back(word);
        words.insert(words.end(), more.begin(), more.end());
        const auto give = [&](const char* option, const char* file) {
            if (std::find(more.begin(), more.end(), option) == more.end())
                words.insert(words.end(), {option, world.path(file)});
        };
        give("--student", "model.h5");
        give("--teacher", "teacher.h5");
        return words;
    }
    ProcessResult run(const std::string& out, const Words& more, int ranks = 1) const {
        auto words = command(out, more);
        words.emplace_back("--quiet");
        return espalier(words, ranks);
    }
    std::vector<json> lines(const std::string& out) const { return metrics(world, out); }
    void cut(const std::string& from, const std::string& to, const Words& target) const {
        const std::string scores = world.path("scores-" + from);
        expect_done(espalier({"importance", "--model", world.path(from), "--data", world.path("tokens"),
                              "--samples", "8", "--seq-len", "16", "--out", scores, "--quiet"}));
        Words words{"prune", "--model", world.path(from), "--importance",
                    scores,  "--out",   world.path(to),   "--quiet"};
        words.insert(words.end(), target.begin(), target.end());
        expect_done(espalier(words));
    }
    /// Of the embeddings, before anything is learned.
    double first_loss(const std::string& student, const std::string& teacher) const {
        const std::string out = student + "-" + teacher;
        const auto result = run(out, {"--student", world.path(student), "--teacher", world.path(teacher),
                                      "--hidden-map", "embedding", "--exit-after-steps", "1"});
        EXPECT_EQ(result.exit_code, 3) << result.err;
        return lines(out).front().at("hidden_loss");
    }
    void expect_same(const std::string& got, const std::string& expected, double relative) const {
        const auto a = lines(got), b = lines(expected);
        ASSERT_EQ(a.size(), b.size());
        for (size_t i = 0; i < a.size(); ++i) {
            for (const char* key : {"loss", "hidden_loss", "alpha", "grad_norm"}) {
                const double x = a[i].at(key), y = b[i].at(key);
                EXPECT_NEAR(x, y, relative * (0.1 + y)) << key << " of step " << i + 1;
            }
        }
    }

    const TinyWorld world;
    const Words map{"--hidden-map", "embedding,1:0,5:3,block:3:2,mlp:2:1"};
};

// Of an f32 loss on another layout (tests/jobs/distill_test.cpp); alpha is a quotient of two of them.
constexpr double rounding = 2e-5;

TEST_F(HiddenStates, AreBalancedAgainstTheDivergenceInTheLoss) {
    expect_done(run("auto", map));

    const auto found = lines("auto");

    ASSERT_EQ(found.size(), 6u);
    for (const auto& line : found) {
        const double kd = line.at("kd_loss"), hidden = line.at("hidden_loss"), alpha = line.at("alpha");
        EXPECT_GT(hidden, 0);
        EXPECT_NEAR(alpha * hidden, kd, 1e-6 * kd);
        EXPECT_NEAR(line.at("loss").get<double>(), 2 * kd, 1e-6 * kd);
    }
    EXPECT_LT(found.back().at("hidden_loss"), found.front().at("hidden_loss"));
}

TEST_F(HiddenStates, HaveTheWeightThatIsGiven) {
    Words words = map;
    words.insert(words.end(), {"--hidden-weight", "0.3", "--hidden-loss", "mse", "--loss", "ce"});

    expect_done(run("fixed", words));

    for (const auto& line : lines("fixed")) {
        const double lm = line.at("lm_loss"), hidden = line.at("hidden_loss"), loss = line.at("loss");
        EXPECT_EQ(line.at("alpha"), 0.3);
        EXPECT_NEAR(loss, lm + 0.3 * hidden, 1e-6 * loss);
    }
}

TEST_F(HiddenStates, LayoutsDoNotShow) {
    expect_done(run("serial", map));
    const auto on = [&](const std::string& out, Words more, int ranks) {
        more.insert(more.end(), map.begin(), map.end());
        expect_done(run(out, more, ranks));
        SCOPED_TRACE(out);
        expect_same(out, "serial", rounding);
    };

    on("tp2dp2", {"--tp", "2"}, 4);
    on("pp2", {"--pp", "2"}, 2);
    on("pp2v2", {"--pp", "2", "--virtual-stages", "2", "--recompute", "full"}, 4);
    on("teacher", {"--teacher-tp", "2", "--teacher-pp", "1", "--pp", "2"}, 4);
}

TEST_F(HiddenStates, SayWhereTheyMoveTheTeacher) {
    const auto said = [&](const std::string& out, Words words) {
        words.insert(words.end(), {"--exit-after-steps", "1", "--pp", "2", "--virtual-stages", "2"});
        const auto result = espalier(command(out, words), 2);
        EXPECT_EQ(result.exit_code, 3) << result.err;
        return result.out;
    };
    const std::string moved = "the teacher runs before the student in each step",
                      stages = "--virtual-stages 2: of the student alone";

    const std::string far = said("far", {"--hidden-map", "5:0"});
    const std::string near = said("near", {"--hidden-map", "embedding"});
    const std::string asked = said("asked", {"--hidden-map", "embedding", "--teacher-pp", "1"});

    EXPECT_NE(far.find("--hidden-map 5:0: "), std::string::npos) << far;
    EXPECT_NE(far.find(moved), std::string::npos) << far;
    EXPECT_NE(far.find(stages), std::string::npos) << far;
    EXPECT_EQ(near.find(moved), std::string::npos) << near;
    EXPECT_EQ(near.find(stages), std::string::npos) << near;
    EXPECT_EQ(asked.find(moved), std::string::npos) << asked;
    EXPECT_NE(asked.find(stages), std::string::npos) << asked;
}

TEST_F(HiddenStates, OfATeacherInTrainingAreThoseBeforeItsUpdate) {
    Words corrected = map;
    corrected.insert(corrected.end(), {"--correct-teacher", "--teacher-lr", "1e-2"});
    expect_done(run("frozen", map));
    expect_done(run("serial", corrected));
    const auto frozen = lines("frozen"), serial = lines("serial");
    EXPECT_EQ(serial.front().at("hidden_loss"), frozen.front().at("hidden_loss"));
    EXPECT_NE(serial[2].at("hidden_loss"), frozen[2].at("hidden_loss"));

    const auto on = [&](const std::string& out, Words more, int ranks) {
        more.insert(more.end(), corrected.begin(), corrected.end());
        expect_done(run(out, more, ranks));
        SCOPED_TRACE(out);
        expect_same(out, "serial", rounding);
    };
    on("tp2dp2", {"--tp", "2"}, 4);
    on("pp2v2", {"--pp", "2", "--virtual-stages", "2"}, 4);
}

TEST_F(HiddenStates, AStoppedRunGoesOnBitForBitAndOnAnotherLayout) {
    expect_done(run("whole", map, 2));
    Words first = map;
    first.insert(first.end(), {"--exit-after-steps", "3"});

    ASSERT_EQ(run("same", first, 2).exit_code, 3);
    expect_done(run("same", map, 2));
    ASSERT_EQ(run("other", first, 3).exit_code, 3);
    Words pipelined = map;
    pipelined.insert(pipelined.end(), {"--pp", "2"});
    expect_done(run("other", pipelined, 4));

    expect_same("same", "whole", 0);
    const auto content = [this](const char* file) {
        return io::TensorFileReader(world.path(file), MPI_COMM_SELF, "").content_sha256();
    };
    EXPECT_EQ(content("same/model.h5"), content("whole/model.h5"));
    expect_same("other", "whole", rounding);
}

TEST_F(HiddenStates, AnotherMicroBatchIsAnotherRunWhereItBalances) {
    Words first = map;
    first.insert(first.end(), {"--exit-after-steps", "3"});
    ASSERT_EQ(run("r", first).exit_code, 3);
    Words other = map;
    other.insert(other.end(), {"--micro-batch", "2"});

    const auto result = run("r", other);

    expect_refusal(result, {"--micro-batch"});
}

TEST_F(HiddenStates, StartFromTheChannelsThatAStudentWasCutFrom) {
    cut("model.h5", "cut.h5", {"--hidden", "23"});

    // One channel of 24 is missing: 1 - sqrt(23 / 24) on average.
    EXPECT_LT(first_loss("cut.h5", "model.h5"), 0.06);
    EXPECT_GT(first_loss("cut.h5", "other.h5"), 0.5);
}

TEST_F(HiddenStates, StartFromTheChannelsThatSeveralCutsLeft) {
    cut("model.h5", "narrow.h5", {"--hidden", "23"});
    cut("narrow.h5", "narrower.h5", {"--hidden", "22", "--layers", "3"});
    cut("narrower.h5", "thin.h5", {"--ffn", "16"});

    EXPECT_LT(first_loss("thin.h5", "model.h5"), 0.12);
    EXPECT_LT(first_loss("thin.h5", "narrow.h5"), 0.06);
    EXPECT_GT(first_loss("thin.h5", "other.h5"), 0.5);
}

TEST_F(HiddenStates, AloneAreAnObjective) {
    expect_done(run("run", {"--hidden-map", "1:0", "--hidden-weight", "2", "--loss", "kl=0"}));

    for (const auto& line : lines("run"))
        EXPECT_DOUBLE_EQ(line.at("loss"), 2 * line.at("hidden_loss").get<double>());
}

TEST_F(HiddenStates, WhatCannotBeIsRefused) {
    const auto refused = [&](const Words& words, const Words& says) {
        expect_refusal(run("refused", words), says);
        EXPECT_FALSE(world.exists("refused"));
    };

    refused({"--hidden-map", "6:0"}, {"teacher layer 6", "0 to 5"});
    refused({"--hidden-map", "5:4"}, {"student layer 4", "0 to 3"});
    refused({"--hidden-map", "1:0,embedding,1:0"}, {"1:0 stands twice"});
    refused({"--hidden-map", "1:0,attention:2:1"}, {"two of its pairs are the same states"});
    refused({"--hidden-map", "1:0", "--loss", "kl=0,ce=1"}, {"--loss kl=0,ce=1 has none that counts"});
    refused({"--hidden-map", "attn:1:0"}, {"attn:1:0", "attention:T:S"});
    refused({"--hidden-map", "1:"}, {"\"1:\"", "T:S"});
    refused({"--hidden-map", "1:0,"}, {"\"\"", "embedding"});
    refused({"--hidden-map", "1:-1"}, {"1:-1"});
    refused({"--hidden-map", "1:0", "--hidden-loss", "kl"}, {"--hidden-loss kl", "cosine or mse"});
    refused({"--hidden-map", "1:0", "--hidden-weight", "much"}, {"--hidden-weight much", "auto"});
    refused({"--hidden-map", "1:0", "--hidden-weight", "-1"}, {"--hidden-weight -1"});
    refused({"--hidden-map", "1:0", "--loss", "ce"}, {"--hidden-weight auto", "--loss ce"});
    refused({"--hidden-map", "1:0", "--loss", "kl=0"}, {"--loss kl=0 has none that counts"});
    refused({"--hidden-loss", "mse"}, {"--hidden-loss", "--hidden-map"});
    refused({"--hidden-weight", "1"}, {"--hidden-weight", "--hidden-map"});
    refused({"--hidden-map", "1:0", "--teacher-cache", world.path("cache")},
            {"--teacher-cache", "--teacher T.h5"});
}

}  // namespace
}  // namespace espalier::test
