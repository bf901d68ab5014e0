// Cutting files, as a user does it: every axis, any layout, in steps, checked against the masked model.
#include <gtest/gtest.h>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "io/indexed_dataset.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using Strings = std::vector<std::string>;

const char* const nemotron =
    R"({"architectures": ["NemotronForCausalLM"], "vocab_size": 97, "hidden_size": 20, "intermediate_size": 30, "num_hidden_layers": 4,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "partial_rotary_factor": 0.5, "max_position_embeddings": 64})";

const char* const qwen3 =
    R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 97, "hidden_size": 20, "intermediate_size": 30, "num_hidden_layers": 4,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64})";

class PruneJob : public testing::Test {
protected:
    json run(Strings arguments, int ranks = 1) {
        arguments.insert(arguments.end(), {"--quiet", "--force", "--summary", world_.path("s.json")});
        const auto result = espalier(arguments, ranks);
        if (result.exit_code != 0) throw std::runtime_error(result.err);
        return json::parse(world_.read("s.json"));
    }

    void make(const std::string& model, const char* arch, const std::string& dtype) {
        world_.write("other.json", arch);
        run({"init", "--arch", world_.path("other.json"), "--out", world_.path(model), "--store-dtype", dtype,
             "--seed", "5"});
    }

    /// whole.h5: a model of 270 tokens with a tokenizer inside; text: token files that it made.
    void make_whole(const json& tokenizer = small_tokenizer(), int bos = 264, int eos = 265) {
        std::string arch = nemotron;
        arch.replace(arch.find("97"), 2, "270");
        arch.insert(arch.size() - 1, fmt::format(R"(, "bos_token_id": {}, "eos_token_id": {})", bos, eos));
        make("bare.h5", arch.c_str(), "f32");
        run({"export", "--model", world_.path("bare.h5"), "--out", world_.path("hf")});
        world_.write("hf/tokenizer.json", tokenizer.dump());
        world_.write("hf/tokenizer.model", "of the whole vocabulary");
        run({"import", "--from", world_.path("hf"), "--out", world_.path("whole.h5")});
        world_.write("text.txt", "singing in the hall, then singing again; the ringing bell");
        tokenize("whole.h5", "text");
    }

    void tokenize(const std::string& model, const std::string& out) {
        run({"tokenize", "--tokenizer", world_.path(model), "--input", world_.path("text.txt"), "--out",
             world_.path(out)});
    }

    void score(const std::string& model, const std::string& out, const Strings& more = {}, int ranks = 1) {
        Strings arguments{"importance",
                          "--model",
                          world_.path(model),
                          "--data",
                          world_.path("tokens"),
                          "--samples",
                          "4",
                          "--seq-len",
                          "16",
                          "--dtype",
                          "f32",
                          "--head-dims",
                          "--out",
                          world_.path(out)};
        arguments.insert(arguments.end(), more.begin(), more.end());
        run(arguments, ranks);
    }

    json prune(const std::string& model, const std::string& scores, const Strings& more, int ranks = 1) {
        Strings arguments{"prune",   "--model", world_.path(model), "--out", world_.path("cut.h5"),
                          "--dtype", "f32"};
        if (!scores.empty()) arguments.insert(arguments.end(), {"--importance", world_.path(scores)});
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run(arguments, ranks);
    }

    std::string hash(const std::string& model) {
        const auto result = espalier({"inspect", world_.path(model), "--json", "--verify"});
        return json::parse(result.out).at("content_sha256");
    }

    Strings with_check(Strings target) {
        target.insert(target.end(), {"--check", world_.path("tokens")});
        return target;
    }

    TinyWorld world_;
};

TEST_F(PruneJob, CheckFindsTheCutEqualToTheMaskedModelOnEveryLayoutAndFamily) {
    make("nemotron.h5", nemotron, "f32");
    const Strings everything{"--hidden",   "13", "--heads",  "4", "--ffn",           "11",
                             "--head-dim", "4",  "--layers", "3", "--head-residual", "paper"};
    const std::tuple<int, Strings> grids[]{{1, {}}, {2, {"--tp", "2"}}, {2, {"--pp", "2"}}, {2, {}}};
    score("nemotron.h5", "n.h5");
    std::string serial;
    for (const auto& [ranks, grid] : grids) {
        Strings arguments = with_check(everything);
        arguments.insert(arguments.end(), grid.begin(), grid.end());
        const json result = prune("nemotron.h5", "n.h5", arguments, ranks);

        EXPECT_LT(result.at("check_max_error"), 1e-4) << ranks << " ranks";
        EXPECT_NEAR(result.at("check_loss").get<double>(), result.at("check_masked_loss").get<double>(),
                    1e-4);
        EXPECT_EQ(result.at("architecture").at("head_dim"), 4);
        if (serial.empty()) serial = hash("cut.h5");
        EXPECT_EQ(hash("cut.h5"), serial);
    }
    score("model.h5", "l.h5", {"--tp", "2"}, 2);
    EXPECT_LT(prune("model.h5", "l.h5",
                    with_check({"--hidden", "16", "--kv-heads", "2", "--head-dim", "6", "--ffn", "20"}))
                  .at("check_max_error"),
              1e-4);
}

TEST_F(PruneJob, CheckFindsTheCutOfAModelWithNormedHeadsEqualToTheMaskedOneInItsDtypeToo) {
    for (const char* dtype : {"f32", "bf16"}) {
        make("qwen3.h5", qwen3, dtype);
        score("qwen3.h5", "q.h5");
        const Strings target{"--hidden", "13",         "--heads", "4",        "--ffn",
                             "11",       "--head-dim", "4",       "--layers", "3"};
        const auto with = [&](Strings more) {
            more.insert(more.begin(), target.begin(), target.end());
            return with_check(more);
        };

        const json laco = prune("qwen3.h5", "q.h5", with({"--head-residual", "laco", "--tp", "2"}), 2);

        EXPECT_LT(laco.at("check_max_error"), laco.at("check_tolerance")) << dtype;
        EXPECT_EQ(laco.at("architecture").at("head_dim"), 4);
        try {
            prune("qwen3.h5", "q.h5", with({"--head-residual", "paper"}));
            FAIL() << "a sum of heads went through a norm";
        } catch (const std::runtime_error& e) {
            EXPECT_NE(std::string(e.what()).find("choose laco"), std::string::npos) << e.what();
        }
    }
}

TEST_F(PruneJob, ScoresOfHeadDimsAreTheSameOnEveryLayout) {
    score("model.h5", "one.h5");
    score("model.h5", "two.h5", {"--tp", "2"}, 2);
    score("model.h5", "four.h5", {"--tp", "2", "--pp", "2"}, 4);
    const Strings target{"--head-dim", "4"};

    const json one = prune("model.h5", "one.h5", target).at("kept");

    EXPECT_EQ(prune("model.h5", "two.h5", target).at("kept"), one);
    EXPECT_EQ(prune("model.h5", "four.h5", target).at("kept"), one);
}

TEST_F(PruneJob, OneIterationIsThePlainCut) {
    score("model.h5", "i.h5");
    const Strings target{"--hidden", "17", "--heads", "3", "--ffn", "21", "--layers", "3"};
    Strings iterated = target;
    iterated.insert(iterated.end(), {"--iterations", "1", "--data", world_.path("tokens"), "--samples", "4",
                                     "--seq-len", "16"});

    const json plain = prune("model.h5", "i.h5", target).at("kept");

    EXPECT_EQ(prune("model.h5", "", iterated).at("kept"), plain);
}

TEST_F(PruneJob, SeveralIterationsKeepTheSameOnEveryLayoutAndCheck) {
    const Strings arguments =
        with_check({"--hidden", "12", "--heads", "3", "--ffn", "20", "--layers", "2", "--iterations", "3",
                    "--data", world_.path("tokens"), "--samples", "4", "--seq-len", "16"});
    const json serial = prune("model.h5", "", arguments);

    EXPECT_EQ(serial.at("architecture").at("hidden"), 12);
    EXPECT_EQ(serial.at("architecture").at("layers"), 2);
    EXPECT_LT(serial.at("check_max_error"), 1e-4);
    for (const auto& grid : {Strings{"--tp", "2"}, {"--pp", "2"}, {}}) {
        Strings split = arguments;
        split.insert(split.end(), grid.begin(), grid.end());
        EXPECT_EQ(prune("model.h5", "", split, 2).at("kept"), serial.at("kept"));
    }
}

TEST_F(PruneJob, CheckFailsWhenTheToleranceIsBelowRounding) {
    make("bf16.h5", nemotron, "bf16");
    score("bf16.h5", "b.h5");
    Strings arguments{"prune",
                      "--model",
                      world_.path("bf16.h5"),
                      "--importance",
                      world_.path("b.h5"),
                      "--out",
                      world_.path("cut.h5"),
                      "--head-dim",
                      "4",
                      "--check",
                      world_.path("tokens")};

    EXPECT_EQ(espalier(arguments).exit_code, 0);
    const std::string good = world_.read("cut.h5");
    arguments.insert(arguments.end(), {"--force", "--check-tolerance", "1e-9"});
    const auto replacing = espalier(arguments);
    arguments[6] = world_.path("fresh.h5");
    const auto failed = espalier(arguments);

    EXPECT_EQ(replacing.exit_code, 1) << replacing.err;
    EXPECT_EQ(world_.read("cut.h5"), good);
    EXPECT_EQ(failed.exit_code, 1) << failed.err;
    EXPECT_FALSE(world_.exists("fresh.h5"));
    EXPECT_FALSE(world_.exists("fresh.h5.unchecked"));
}

TEST_F(PruneJob, PeakMemoryDoesNotGrowWithTheModel) {
#ifdef ESPALIER_DEBUG
    GTEST_SKIP() << "sanitizers keep what was freed";
#endif
    const auto peaks = [&](int layers) {
        std::string arch =
            R"({"architectures": ["NemotronForCausalLM"], "vocab_size": 97, "hidden_size": 512, "intermediate_size": 2048,
            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 64, "num_hidden_layers": )" +
            std::to_string(layers) + "}";
        make("big.h5", arch.c_str(), "bf16");
        std::vector<int64_t> out;
        out.push_back(run({"prune", "--model", world_.path("big.h5"), "--out", world_.path("cut.h5"),
                           "--drop-layers", "1", "--threads", "1"})
                          .at("peak_memory_bytes"));
        out.push_back(
            run({"export", "--model", world_.path("big.h5"), "--out", world_.path("hf"), "--threads", "1"})
                .at("peak_memory_bytes"));
        out.push_back(
            run({"import", "--from", world_.path("hf"), "--out", world_.path("back.h5"), "--threads", "1"})
                .at("peak_memory_bytes"));
        return out;
    };

    const auto small = peaks(2), large = peaks(20);  // 11 and 110 MB

    for (size_t i = 0; i < small.size(); ++i) EXPECT_LT(large[i], small[i] + (int64_t{24} << 20)) << i;
}

TEST_F(PruneJob, ALlamaCutToAShapeThatOnlyMistralHasIsExportedAsOneAndExportSaysSo) {
    const auto exported = [&](const std::string& hidden) {
        prune("model.h5", "scores.h5", {"--hidden", hidden});
        const auto result =
            espalier({"export", "--model", world_.path("cut.h5"), "--out", world_.path("hf"), "--force"});
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result.out;
    };

    const std::string odd = exported("17");

    EXPECT_EQ(json::parse(world_.read("hf/config.json")).at("architectures").at(0), "MistralForCausalLM");
    for (const char* word : {"MistralForCausalLM", "hidden size (17)", "query heads (6)"})
        EXPECT_NE(odd.find(word), std::string::npos) << odd;
    EXPECT_EQ(exported("18").find("Mistral"), std::string::npos);
}

TEST_F(PruneJob, AVocabularyTakesItsTokenizerAlong) {
    make_whole();

    const json cut =
        run({"prune", "--model", world_.path("whole.h5"), "--out", world_.path("cut.h5"), "--vocab", "261",
             "--vocab-data", world_.path("text"), "--check", world_.path("text")});

    EXPECT_LT(cut.at("check_max_error"), 1e-4);
    EXPECT_EQ(cut.at("architecture").at("vocab"), 261);
    EXPECT_EQ(cut.at("architecture").at("bos"), 259);
    EXPECT_EQ(cut.at("kept").at("vocab").size(), 261U);
    tokenize("cut.h5", "fresh");
    EXPECT_NO_THROW(run({"evaluate", "--model", world_.path("cut.h5"), "--data", world_.path("fresh")}));
    const auto refused = [&](const Strings& more, const std::string& says) {
        Strings arguments{"prune", "--model", world_.path("whole.h5"), "--out", world_.path("no.h5")};
        arguments.insert(arguments.end(), more.begin(), more.end());
        expect_refusal(espalier(arguments), {says});
    };
    refused({"--vocab", "257", "--vocab-data", world_.path("text")}, "--vocab >= 258");
    refused({"--vocab", "271", "--vocab-data", world_.path("text")}, "adds none");
    refused({"--vocab", "260"}, "--vocab-data");
    io::IndexedDatasetWriter(world_.path("empty"), 270, io::Existing::keep).finish();
    refused({"--vocab", "260", "--vocab-data", world_.path("empty")}, "there is no token in it to count");
    world_.write("ids", "1 2 3 264");
    refused({"--vocab-ids", world_.path("ids")}, "265");
    world_.write("ids", "1 2 3 264 265");
    refused({"--vocab-ids", world_.path("ids")}, "single bytes");
}

TEST_F(PruneJob, AVocabularyOfCharactersTakesItsTokenizerAlong) {
    make_whole(small_character_tokenizer(), 1, 2);

    const json cut = run({"prune", "--model", world_.path("whole.h5"), "--out", world_.path("cut.h5"),
                          "--vocab", "264", "--vocab-data", world_.path("text")});
    tokenize("cut.h5", "fresh");
    run({"export", "--model", world_.path("cut.h5"), "--out", world_.path("small")});

    EXPECT_EQ(cut.at("architecture").at("vocab"), 264);
    EXPECT_EQ(cut.at("architecture").at("bos"), 1);
    EXPECT_NO_THROW(run({"evaluate", "--model", world_.path("cut.h5"), "--data", world_.path("fresh")}));
    EXPECT_EQ(json::parse(world_.read("small/tokenizer.json")).at("model").at("vocab").size(), 264U);
    EXPECT_FALSE(world_.exists("small/tokenizer.model"));
}

TEST_F(PruneJob, ATeacherIsCutToTheVocabularyOfItsStudentAsTheRefusalSays) {
    make_whole();
    const json cut = run({"prune", "--model", world_.path("whole.h5"), "--out", world_.path("cut.h5"),
                          "--vocab", "261", "--vocab-data", world_.path("text")});
    tokenize("cut.h5", "fresh");
    const auto distil = [&](const std::string& teacher) {
        return espalier({"distill", "--teacher", world_.path(teacher), "--student", world_.path("cut.h5"),
                         "--data", world_.path("fresh"), "--out", world_.path("run"), "--tokens", "16",
                         "--seq-len", "8", "--global-batch", "1", "--quiet"});
    };

    const auto refused = distil("whole.h5");

    EXPECT_EQ(refused.exit_code, 2);
    for (const std::string& word :
         {"prune --model " + world_.path("whole.h5"), std::string("--vocab-ids"), std::string("kept.vocab")})
        EXPECT_NE(refused.err.find(word), std::string::npos) << refused.err;
    std::string ids;
    for (const auto& id : cut.at("kept").at("vocab")) ids += id.dump() + " ";
    world_.write("ids", ids);
    run({"prune", "--model", world_.path("whole.h5"), "--out", world_.path("teacher.h5"), "--vocab-ids",
         world_.path("ids")});
    const auto done = distil("teacher.h5");
    EXPECT_EQ(done.exit_code, 0) << done.err;
}

TEST(Prune, TwiceFromTheSameScoresGivesTheSameModelOnAnyNumberOfRanks) {
    const TinyWorld world;
    const auto prune = [&](const std::string& out, int ranks) {
        return espalier(
            {"prune", "--model", world.path("model.h5"), "--importance", world.path("scores.h5"), "--out",
             world.path(out), "--hidden", "17", "--heads", "3", "--ffn", "21", "--layers", "3", "--quiet"},
            ranks);
    };
    ASSERT_EQ(prune("one.h5", 1).exit_code, 0);
    ASSERT_EQ(prune("three.h5", 3).exit_code, 0);

    const auto content = [&](const std::string& name) {
        const auto result = espalier({"inspect", world.path(name), "--json", "--verify"});
        return json::parse(result.out);
    };
    EXPECT_EQ(content("one.h5").at("content_sha256"), content("three.h5").at("content_sha256"));
    EXPECT_EQ(content("one.h5").at("architecture").at("hidden"), 17);
}

}  // namespace
}  // namespace espalier::test
