// What users get wrong: exit code 2, a message that names the trouble and the way out, and nothing left
// behind.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/jobs/program.hpp"

namespace espalier::test {
namespace {

class BadInput : public testing::Test {
protected:
    static void SetUpTestSuite() { world_ = std::make_unique<TinyWorld>(); }
    static void TearDownTestSuite() { world_.reset(); }
    static TinyWorld& world() { return *world_; }

    /// Runs, expects exit code 2 with every word of `says` in the message, and no new file.
    static void expect_refused(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& says, int ranks = 1) {
        const auto before = world().names();

        const auto result = espalier(arguments, ranks);

        EXPECT_EQ(result.exit_code, 2) << result.err;
        for (const auto& word : says)
            EXPECT_NE(result.err.find(word), std::string::npos)
                << "\"" << word << "\" is not in: " << result.err;
        EXPECT_EQ(world().names(), before);
    }
    static std::string path(const std::string& name) { return world().path(name); }

private:
    static inline std::unique_ptr<TinyWorld> world_;
};

TEST_F(BadInput, UnknownJobsAndOptions) {
    expect_refused({"prunee"}, {"prunee", "--help"});
    expect_refused({"prune", "--model", path("model.h5"), "--out", path("o.h5"), "--headz", "3"}, {"headz"});
    expect_refused({"prune", "--out", path("o.h5")}, {"model"});
    expect_refused({"evaluate", "--model", path("model.h5"), "--data", path("tokens"), "--seq-len", "many"},
                   {"seq-len"});
}

TEST_F(BadInput, ConfigFilesWithUnknownKeysOrSections) {
    world().write("bad.ini", "[evaluate]\nmodle = x\n");
    expect_refused({"evaluate", "--config", path("bad.ini"), "--model", path("model.h5")},
                   {"bad.ini", "modle"});
    world().write("bad.ini", "[evalute]\nmodel = x\n");
    expect_refused({"evaluate", "--config", path("bad.ini"), "--model", path("model.h5")},
                   {"bad.ini", "evalute"});
}

TEST_F(BadInput, MissingAndDamagedModels) {
    expect_refused({"evaluate", "--model", path("none.h5"), "--data", path("tokens")}, {"none.h5"});
    const std::string whole = world().read("model.h5");
    world().write("short.h5", whole.substr(0, whole.size() / 2));
    expect_refused({"evaluate", "--model", path("short.h5"), "--data", path("tokens")}, {"short.h5"});
    std::string flipped = whole;
    flipped[whole.size() - 100] = static_cast<char>(flipped[whole.size() - 100] ^ 0x40);
    world().write("flipped.h5", flipped);
    expect_refused({"inspect", path("flipped.h5"), "--verify"}, {"flipped.h5"});
    expect_refused({"evaluate", "--model", path("scores.h5"), "--data", path("tokens")},
                   {"scores.h5", "espalier-model"});
}

TEST_F(BadInput, DamagedTokenFiles) {
    expect_refused({"evaluate", "--model", path("model.h5"), "--data", path("nowhere")}, {"nowhere"});
    const std::string index = world().read("tokens.idx");
    world().write("torn.idx", index.substr(0, index.size() - 9));
    world().write("torn.bin", world().read("tokens.bin"));
    expect_refused({"evaluate", "--model", path("model.h5"), "--data", path("torn")}, {"torn.idx"});
    std::string ids = world().read("tokens.bin");
    ids[20] = ids[21] = 0x7f;
    world().write("ids.idx", index);
    world().write("ids.bin", ids);
    expect_refused({"evaluate", "--model", path("model.h5"), "--data", path("ids")}, {"ids", "vocab"});
}

TEST_F(BadInput, TooFewTokensForASample) {
    expect_refused({"importance", "--model", path("model.h5"), "--data", "1", path("tokens"), "--samples",
                    "4", "--seq-len", "65", "--out", path("o.h5")},
                   {"65", "64"});
    world().write(
        "arch-long.json",
        R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 97, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8, "max_position_embeddings": 4096})");
    ASSERT_EQ(
        espalier({"init", "--arch", path("arch-long.json"), "--out", path("long.h5"), "--quiet"}).exit_code,
        0);
    expect_refused({"importance", "--model", path("long.h5"), "--data", path("tokens"), "--samples", "4",
                    "--seq-len", "2048", "--out", path("o.h5")},
                   {"tokens"});
}

TEST_F(BadInput, TargetsThatTheModelDoesNotHave) {
    const std::vector<std::string> prune{"prune",           "--model", path("model.h5"), "--importance",
                                         path("scores.h5"), "--out",   path("o.h5")};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), prune.begin(), prune.end());
        return more;
    };
    expect_refused(with({"--heads", "7"}), {"--heads 7", "6 query heads", "--heads <= 6"});
    expect_refused(with({"--heads", "4"}), {"4", "--kv-heads 3"});
    expect_refused(with({"--hidden", "25"}), {"--hidden", "24"});
    expect_refused(with({"--layers", "0"}), {"--layers 0"});
    expect_refused(with({"--head-dim", "9"}), {"--head-dim", "8"});
    expect_refused(with({"--head-dim", "4"}), {"importance --head-dims"});
    expect_refused(with({"--head-residual", "best"}), {"--head-residual best", "paper"});
    expect_refused(with({"--ffn", "8", "--head-residual", "paper"}), {"--heads"});
    expect_refused(with({"--heads", "3", "--kv-heads", "3", "--head-residual", "both"}), {"both"});
    expect_refused(with({"--kv-heads", "2", "--heads", "2", "--head-residual", "laco"}), {"whole groups"});
    expect_refused(with({"--hidden", "8", "--iterations", "2"}), {"--iterations 2", "--data"});
    expect_refused(with({"--hidden", "8", "--iterations", "0", "--data", path("tokens")}),
                   {"--iterations 0"});
    expect_refused(with({"--drop-layers", "1", "--iterations", "2", "--data", path("tokens")}),
                   {"--drop-layers"});
    expect_refused(with({"--vocab", "98", "--vocab-data", path("tokens")}), {"--vocab 98", "97"});
    expect_refused(with({"--drop-layers", "2-9"}), {"--drop-layers", "0 to 3"});
    expect_refused(prune, {"nothing to cut"});
    expect_refused({"prune", "--model", path("model.h5"), "--hidden", "8", "--out", path("o.h5")},
                   {"--importance"});
}

TEST_F(BadInput, ScoresOfAnotherModel) {
    ASSERT_EQ(
        espalier({"init", "--arch", path("arch.json"), "--out", path("other.h5"), "--seed", "2", "--quiet"})
            .exit_code,
        0);

    expect_refused({"prune", "--model", path("other.h5"), "--importance", path("scores.h5"), "--hidden", "8",
                    "--out", path("o.h5")},
                   {"another model"});
}

TEST_F(BadInput, TeacherAndStudentOfDifferentVocabularies) {
    world().write(
        "arch-98.json",
        R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 98, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8, "max_position_embeddings": 64})");
    ASSERT_EQ(espalier({"init", "--arch", path("arch-98.json"), "--out", path("98.h5"), "--quiet"}).exit_code,
              0);

    auto arguments = distill_arguments(world(), "run");
    arguments[2] = path("98.h5");
    expect_refused(arguments, {"vocabulary", "98", "97"});
}

TEST_F(BadInput, LayoutsThatTheModelOrTheRanksDoNotFill) {
    const std::vector<std::string> evaluate{"evaluate", "--model", path("model.h5"), "--data",
                                            path("tokens")};
    auto tp = evaluate, pp = evaluate;
    tp.insert(tp.end(), {"--tp", "7"});
    pp.insert(pp.end(), {"--pp", "5"});
    expect_refused(tp, {"--tp <= 6"}, 7);
    expect_refused(pp, {"--pp <= 4"}, 5);
    auto three = evaluate;
    three.insert(three.end(), {"--tp", "2"});
    expect_refused(three, {"3 ranks"}, 3);
}

TEST_F(BadInput, LayoutsThatTheTeacherOrTheRanksDoNotFill) {
    const auto with = [&](const std::vector<std::string>& more) {
        return distill_arguments(world(), "run", more);
    };
    expect_refused(with({"--teacher-tp", "7"}), {"--teacher-tp 7:", "--teacher-tp <= 6"});
    expect_refused(with({"--teacher-pp", "5"}), {"--teacher-pp 5:", "--teacher-pp <= 4"});
    expect_refused(with({"--teacher-tp", "3"}), {"1 ranks", "--teacher-tp 3 x --pp 1"});
}

TEST_F(BadInput, IsToldToALauncherThatNamesAFile) {
    const std::string file = path("exit_code");
    const auto evaluate = [&](const std::string& tp) {
        return espalier({"evaluate", "--model", path("model.h5"), "--data", path("tokens"), "--seq-len", "16",
                         "--tp", tp, "--quiet"},
                        2, {"ESPALIER_EXIT_CODE_FILE=" + file});
    };

    EXPECT_EQ(evaluate("2").exit_code, 0);
    EXPECT_FALSE(world().exists("exit_code"));

    EXPECT_EQ(evaluate("3").exit_code, 2);
    EXPECT_EQ(world().read("exit_code"), "2\n");
}

TEST_F(BadInput, OutputsThatExist) {
    expect_refused({"init", "--arch", path("arch.json"), "--out", path("model.h5")}, {"model.h5", "--force"});
    expect_refused(
        {"tokenize", "--tokenizer", path("arch.json"), "--input", path("arch.json"), "--out", path("t")},
        {"arch.json"});
    ASSERT_EQ(espalier(distill_arguments(world(), "finished")).exit_code, 0);
    expect_refused(distill_arguments(world(), "finished"), {"finished", "--force"});
}

TEST_F(BadInput, FoldersOfOtherThingsForAnExport) {
    const std::vector<std::string> words{"export", "--model",        path("model.h5"),
                                         "--out",  path("exported"), "--force"};
    ASSERT_EQ(espalier(words).exit_code, 0);
    ASSERT_EQ(espalier(words).exit_code, 0) << "an export may be replaced";
    world().write("exported/thesis.tex", "years of work");

    expect_refused(words, {"exported", "thesis.tex"});

    EXPECT_EQ(world().read("exported/thesis.tex"), "years of work");
}

TEST_F(BadInput, SummariesInPlaceOfOtherFiles) {
    const std::vector<std::string> words{"evaluate", "--model", path("model.h5"), "--data", path("tokens")};
    const auto with_summary = [&](const std::string& name) {
        auto out = words;
        out.insert(out.end(), {"--seq-len", "16", "--summary", path(name)});
        return out;
    };
    const std::string model = world().read("model.h5");

    expect_refused(with_summary("model.h5"), {"--summary", "--model is the same file"});
    expect_refused(with_summary("tokens.idx"), {"tokens.idx", "is no summary"});
    expect_refused(with_summary("nowhere/s.json"), {"there is no folder"});
    expect_refused(with_summary(std::string(251, 's')), {"File name too long"});
    expect_refused(
        {"init", "--arch", path("arch.json"), "--out", path("i.h5"), "--summary", path("i.h5/s.json")},
        {"there is no folder"});

    EXPECT_EQ(world().read("model.h5"), model);
    ASSERT_EQ(espalier(with_summary("s.json")).exit_code, 0);
    EXPECT_EQ(espalier(with_summary("s.json")).exit_code, 0) << "a summary may be replaced";
    const std::vector<std::string> inside{"export",
                                          "--model",
                                          path("model.h5"),
                                          "--out",
                                          path("with_summary"),
                                          "--summary",
                                          path("with_summary/s.json"),
                                          "--force"};
    ASSERT_EQ(espalier(inside).exit_code, 0) << "a summary may be in a folder that the job makes";
    EXPECT_EQ(espalier(inside).exit_code, 0);
}

TEST_F(BadInput, RunsInFoldersOfOtherThings) {
    std::filesystem::create_directory(path("project"));
    world().write("project/config.ini", "[core]\n");

    expect_refused(distill_arguments(world(), "project"), {"project", "no run's"});

    EXPECT_EQ(world().read("project/config.ini"), "[core]\n");

    // What a start leaves that is killed as it writes its first file is no other thing.
    std::filesystem::create_directory(path("begun"));
    world().write("begun/config.ini.partial", "[dist");
    EXPECT_EQ(espalier(distill_arguments(world(), "begun")).exit_code, 0);
}

TEST_F(BadInput, AReferenceForACheckThatIsNotThere) {
    expect_refused({"prune", "--model", path("model.h5"), "--importance", path("scores.h5"), "--ffn", "20",
                    "--out", path("cut.h5"), "--check", path("none")},
                   {"none"});
}

TEST_F(BadInput, SizesOfNothing) {
    for (const char* option : {"--tokens", "--seq-len", "--global-batch"}) {
        std::vector<std::string> words{"train",        "--model", path("model.h5"), "--data",
                                       path("tokens"), "--out",   path("nothing")};
        for (const char* other : {"--tokens", "--seq-len", "--global-batch"})
            words.insert(words.end(), {other, std::string_view(other) == option ? "0" : "16"});
        expect_refused(words, {option, "must be positive"});
    }
}

TEST_F(BadInput, LearningRatesAndTemperaturesThatAreNoNumbers) {
    for (const char* option : {"--weight-decay", "--temperature", "--clip-grad"})
        expect_refused(distill_arguments(world(), "nan", {option, "inf"}), {option, "inf"});
}

TEST_F(BadInput, NumbersThatAreTooLarge) {
    const std::vector<std::string> evaluate{"evaluate", "--model", path("model.h5"), "--data",
                                            path("tokens")};
    const auto with = [&](std::vector<std::string> words) {
        words.insert(words.begin(), evaluate.begin(), evaluate.end());
        return words;
    };
    expect_refused(with({"--tp", "65536", "--pp", "65536"}), {"cannot form replicas", "4294967296"});
    expect_refused(with({"--threads", "100000"}), {"--threads 100000"});
    expect_refused(with({"--seed", "4294967296"}), {"--seed 4294967296"});
    auto wide = nlohmann::json::parse(world().read("arch.json"));
    wide["hidden_size"] = wide["vocab_size"] = int64_t{1} << 30;
    world().write("wide.json", wide.dump());
    expect_refused({"init", "--arch", path("wide.json"), "--out", path("wide.h5")}, {"wide.json", "weights"});
}

TEST_F(BadInput, FoldersThatCannotBeWrittenTo) {
    expect_refused({"init", "--arch", path("arch.json"), "--out", path("no/such/folder/m.h5")},
                   {"no/such/folder"});
}

TEST_F(BadInput, ForeignCheckpointsThatDoNotFitTheirConfig) {
    ASSERT_EQ(espalier({"export", "--model", path("model.h5"), "--out", path("hf"), "--quiet"}).exit_code, 0);
    const std::string config = world().read("hf/config.json"), weights = world().read("hf/model.safetensors");
    const auto import = std::vector<std::string>{"import", "--from", path("hf"), "--out", path("o.h5")};

    std::string changed = config;
    changed.replace(changed.find("\"num_hidden_layers\": 4"), 22, "\"num_hidden_layers\": 5");
    world().write("hf/config.json", changed);
    expect_refused(import, {"model.layers.4", "missing"});
    changed = config;
    changed.replace(changed.find("\"num_hidden_layers\": 4"), 22, "\"num_hidden_layers\": 3");
    world().write("hf/config.json", changed);
    expect_refused(import, {"surplus", "model.layers.3"});
    changed = config;
    changed.replace(changed.find("\"vocab_size\": 97"), 16, "\"vocab_size\": 96");
    world().write("hf/config.json", changed);
    expect_refused(import, {"shape", "[97, 24]"});
    changed = config;
    changed.replace(changed.find("LlamaForCausalLM"), 16, "MambaForCausalLM");
    world().write("hf/config.json", changed);
    expect_refused(import, {"MambaForCausalLM", "supported"});
    world().write("hf/config.json", config);
    world().write("hf/model.safetensors", weights.substr(0, weights.size() - 1));
    expect_refused(import, {"model.safetensors"});
}

TEST_F(BadInput, PathsThatLeadNowhere) {
    std::filesystem::create_symlink("loop", path("loop"));
    for (const std::string name : {"loop", "none"}) {
        expect_refused({"import", "--from", path(name), "--out", path("o.h5")}, {path(name)});
        expect_refused(
            {"tokenize", "--tokenizer", path(name), "--input", path("arch.json"), "--out", path("t")},
            {path(name)});
    }
}

TEST_F(BadInput, ForeignTensorsOfATypeThatCannotBeDecoded) {
    ASSERT_EQ(espalier({"export", "--model", path("model.h5"), "--out", path("u32"), "--quiet"}).exit_code,
              0);
    std::string weights = world().read("u32/model.safetensors");
    const size_t last = weights.find("model.norm.weight");
    weights.replace(weights.find("F32", last), 3, "U32");
    world().write("u32/model.safetensors", weights);

    expect_refused({"import", "--from", path("u32"), "--out", path("o.h5")}, {"model.norm.weight", "U32"});
}

TEST_F(BadInput, RanksStartedWithDifferentOptions) {
    const std::vector<std::string> evaluate{ESPALIER_PROGRAM, "evaluate", "--model",
                                            path("model.h5"), "--data",   path("tokens")};
    for (const std::vector<std::string>& others : {std::vector<std::string>{"--seq-len", "8"}, {"--help"}}) {
        std::vector<std::string> words{"mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "1"};
        words.insert(words.end(), evaluate.begin(), evaluate.end());
        words.insert(words.end(), {":", "-n", "1"});
        words.insert(words.end(), evaluate.begin(), evaluate.end());
        words.insert(words.end(), others.begin(), others.end());

        const auto result = run_process(words);

        EXPECT_EQ(result.exit_code, 2);
        EXPECT_NE(result.err.find("different options"), std::string::npos) << result.err;
    }
}

TEST_F(BadInput, WordsThatAreNotUtf8) {
    expect_refused({"init", "--arch", path("arch.json"), "--out", path("x\xe9.h5")}, {"x\\xe9.h5", "UTF-8"});
}

TEST_F(BadInput, ASummaryDoesNotReplaceWhatTheJobItselfMakes) {
    const auto exported = espalier({"export", "--model", path("model.h5"), "--out", path("told"), "--quiet",
                                    "--summary", path("told/config.json")});

    EXPECT_EQ(exported.exit_code, 2);
    EXPECT_NE(exported.err.find("the job itself made a file of this name"), std::string::npos)
        << exported.err;
    EXPECT_EQ(world().read("told/config.json").find("wall_seconds"), std::string::npos);
}

TEST_F(BadInput, NobodyWhoReadsStandardErrorIsNoMatterOfTheJob) {
    const std::string command = std::string(ESPALIER_PROGRAM) + " evaluate --model " + path("model.h5") +
                                " --data " + path("tokens") + " --seq-len 8 ";
    for (const char* broken : {"2>/dev/full", "2>&-", "2>&- >&- <&-"})
        EXPECT_EQ(run_process({"sh", "-c", command + broken}).exit_code, 0) << broken;
}

TEST_F(BadInput, WhatWasAskedForAndCannotBePrinted) {
    const std::string inspect = "inspect " + path("model.h5");
    for (const std::string& words :
         {std::string("--help"), std::string("--version"), std::string("prune --help"),
          std::string("prune --version"), inspect, inspect + " --json", inspect + " --dump-config"}) {
        const std::string command = std::string(ESPALIER_PROGRAM) + " " + words;
        ASSERT_EQ(run_process({"sh", "-c", command + " >/dev/null"}).exit_code, 0) << words;

        const auto result = run_process({"sh", "-c", command + " >/dev/full"});

        EXPECT_EQ(result.exit_code, 2) << words;
        EXPECT_NE(result.err.find("standard output cannot be written"), std::string::npos) << words;
    }
}

TEST_F(BadInput, TasksOfALauncherThatDidNotFindEachOther) {
    const auto result =
        run_process({ESPALIER_PROGRAM, "inspect", path("model.h5")},
                    {"SLURM_PROCID=0", "SLURM_STEP_ID=0", "SLURM_STEP_NUM_TASKS=4", "SLURM_NTASKS=4"});

    EXPECT_EQ(result.exit_code, 2);
    EXPECT_NE(result.err.find("--mpi=pmix"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace espalier::test
