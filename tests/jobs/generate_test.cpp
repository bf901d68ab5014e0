// Where a continuation ends.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

/// The exported model in the folder hf with a tokenizer beside it, imported with files changed.
class Generate : public testing::Test {
protected:
    Generate() {
        json arch = json::parse(world_.read("arch.json"));
        arch["vocab_size"] = 266;
        world_.write("mute.json", arch.dump());
        done({"init", "--arch", world_.path("mute.json"), "--out", world_.path("mute.h5"), "--quiet"});
        done({"export", "--model", world_.path("mute.h5"), "--out", world_.path("hf"), "--quiet"});
        world_.write("hf/tokenizer.json", small_tokenizer().dump());
    }
    static void done(const Words& arguments) { expect_done(espalier(arguments)); }
    /// The ids that the folder's model continues a prompt with.
    std::vector<int32_t> continuation() const {
        done({"import", "--from", world_.path("hf"), "--out", world_.path("m.h5"), "--force", "--quiet"});
        done({"generate", "--model", world_.path("m.h5"), "--prompt", "then", "--max-tokens", "8", "--dtype",
              "f32", "--quiet", "--summary", world_.path("s.json"), "--force"});
        return json::parse(world_.read("s.json")).at("generated").at(0).at("ids");
    }
    void config_ends(const json& ids) const {
        json config = json::parse(world_.read("hf/config.json"));
        config["eos_token_id"] = ids;
        world_.write("hf/config.json", config.dump());
    }

    TinyWorld world_;
};

TEST_F(Generate, StopsAtEveryEndOfTextOfConfigAndGenerationConfig) {
    const auto whole = continuation();
    const auto third = std::find_if(whole.begin() + 2, whole.end(), [&](int32_t id) {
        return std::find(whole.begin(), whole.begin() + 2, id) == whole.begin() + 2;
    });
    ASSERT_NE(third, whole.end());
    const std::vector<int32_t> before(whole.begin(), third);

    config_ends({265, *third});
    EXPECT_EQ(continuation(), before);
    config_ends(265);
    EXPECT_EQ(continuation(), whole);
    world_.write("hf/generation_config.json", json{{"eos_token_id", {264, *third}}}.dump());
    EXPECT_EQ(continuation(), before);
}

TEST_F(Generate, ExportsTheEndsOfTextThatWereImported) {
    config_ends({265, 7});
    continuation();

    done({"export", "--model", world_.path("m.h5"), "--out", world_.path("again"), "--quiet"});

    EXPECT_EQ(json::parse(world_.read("again/config.json")).at("eos_token_id"), json({265, 7}));
}

TEST_F(Generate, DrawsOtherNumbersForEachRequestAndTheSameForEachSeed) {
    continuation();
    world_.write("requests.jsonl", "{\"prompt\": \"then\"}\n{\"prompt\": \"then\"}\n");
    const auto sampled = [&](const char* seed) {
        done({"generate", "--model", world_.path("m.h5"), "--requests", world_.path("requests.jsonl"),
              "--temperature", "1", "--seed", seed, "--max-tokens", "8", "--dtype", "f32", "--quiet",
              "--summary", world_.path("s.json"), "--force"});
        return json::parse(world_.read("s.json")).at("generated");
    };

    const json texts = sampled("1");

    EXPECT_NE(texts.at(0).at("ids"), texts.at(1).at("ids"));
    EXPECT_EQ(sampled("1"), texts);
    EXPECT_NE(sampled("2"), texts);
}

TEST_F(Generate, DrawsAmongTheLikeliestTokensAlone) {
    const auto greedy = continuation();
    const auto sampled = [&](const char* top_p) -> std::vector<int32_t> {
        done({"generate", "--model", world_.path("m.h5"), "--prompt", "then", "--max-tokens", "8",
              "--temperature", "3", "--top-p", top_p, "--dtype", "f32", "--quiet", "--summary",
              world_.path("s.json"), "--force"});
        return json::parse(world_.read("s.json")).at("generated").at(0).at("ids");
    };

    EXPECT_EQ(sampled("1e-6"), greedy) << "the likeliest holds that much alone";
    EXPECT_NE(sampled("1"), greedy);
}

TEST_F(Generate, LooksAtAllRequestsBeforeTheFirstAndSaysWherePositionsEnded) {
    continuation();
    const auto ask = [&](const std::string& lines, const Words& more) {
        world_.write("requests.jsonl", lines);
        Words words{"generate",
                    "--model",
                    world_.path("m.h5"),
                    "--requests",
                    world_.path("requests.jsonl"),
                    "--dtype",
                    "f32",
                    "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        return espalier(words);
    };

    const auto refused = ask("{\"prompt\": \"then\"}\n{\"prompt\": 7}\n", {});
    const auto full = ask("{\"prompt\": \"then\"}\n", {"--max-tokens", "1000"});

    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_EQ(refused.out, "");
    EXPECT_NE(refused.err.find("requests.jsonl, line 2"), std::string::npos) << refused.err;
    EXPECT_EQ(full.exit_code, 0) << full.err;
    EXPECT_NE(full.err.find("positions ended 1 of 1 continuations before --max-tokens 1000"),
              std::string::npos)
        << full.err;
}

}  // namespace
}  // namespace espalier::test
