// Files and folders that a job cannot read or may not replace.
#include <algorithm>
#include <filesystem>

#include "tests/jobs/bad_input.hpp"

namespace espalier::test {
namespace {

using BadFiles = BadInput;

TEST_F(BadFiles, MissingAndDamagedModels) {
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

TEST_F(BadFiles, DamagedTokenFiles) {
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

TEST_F(BadFiles, TooFewTokensForASample) {
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
                   {path("tokens") + ": 990 tokens in 20 documents", "2049"});
}

TEST_F(BadFiles, ScoresOfAnotherModel) {
    ASSERT_EQ(
        espalier({"init", "--arch", path("arch.json"), "--out", path("other.h5"), "--seed", "2", "--quiet"})
            .exit_code,
        0);

    expect_refused({"prune", "--model", path("other.h5"), "--importance", path("scores.h5"), "--hidden", "8",
                    "--out", path("o.h5")},
                   {"another model"});
}

TEST_F(BadFiles, TeacherAndStudentOfDifferentVocabularies) {
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

TEST_F(BadFiles, OutputsThatExist) {
    expect_refused({"init", "--arch", path("arch.json"), "--out", path("model.h5")}, {"model.h5", "--force"});
    expect_refused(
        {"tokenize", "--tokenizer", path("arch.json"), "--input", path("arch.json"), "--out", path("t")},
        {"arch.json"});
    ASSERT_EQ(espalier(distill_arguments(world(), "finished")).exit_code, 0);
    expect_refused(distill_arguments(world(), "finished"), {"finished", "--force"});
}

TEST_F(BadFiles, FilesNamedLikeFolders) {
    expect_refused({"init", "--arch", path("arch.json"), "--out", path("new/")}, {"new/", "slash"});
    expect_refused(
        {"score", "--model", path("model.h5"), "--requests", path("arch.json"), "--out", path("new/")},
        {"new/", "slash"});
}

TEST_F(BadFiles, FoldersOfOtherThingsForAnExport) {
    const std::vector<std::string> words{"export", "--model",        path("model.h5"),
                                         "--out",  path("exported"), "--force"};
    ASSERT_EQ(espalier(words).exit_code, 0);
    ASSERT_EQ(espalier(words).exit_code, 0) << "an export may be replaced";
    world().write("exported/thesis.tex", "years of work");

    expect_refused(words, {"exported", "thesis.tex"});

    EXPECT_EQ(world().read("exported/thesis.tex"), "years of work");
}

TEST_F(BadFiles, OutputsInPlaceOfWhatIsRead) {
    const std::string model = world().read("model.h5"), scores = world().read("scores.h5");

    expect_refused({"importance", "--model", path("model.h5"), "--data", path("tokens"), "--samples", "2",
                    "--seq-len", "16", "--out", path("model.h5"), "--force"},
                   {"--out", "--model is the same file"});
    expect_refused({"prune", "--model", path("model.h5"), "--importance", path("scores.h5"), "--hidden", "23",
                    "--out", path("scores.h5"), "--force"},
                   {"--out", "--importance is the same file"});
    const std::string tokens = world().read("tokens.idx");
    expect_refused({"importance", "--model", path("model.h5"), "--data", path("tokens"), "--samples", "2",
                    "--seq-len", "16", "--out", path("tokens.idx"), "--force"},
                   {"--out", "--data is the same file"});
    expect_refused({"tokenize", "--tokenizer", path("model.h5"), "--input", path("tokens.idx"), "--out",
                    path("tokens"), "--force"},
                   {"--out", "--input is the same file"});
    EXPECT_EQ(world().read("tokens.idx"), tokens);
    std::filesystem::create_directory(path("source"));
    world().write("source/config.json", "{}");
    expect_refused({"import", "--from", path("source"), "--out", path("source/config.json"), "--force"},
                   {"--out", "--from is the same file, or holds it"});
    std::filesystem::create_directory(path("run"));
    std::filesystem::create_directory(path("run/checkpoints"));
    world().write("run/config.ini", "[distill]\n");
    world().write("run/model.h5", model);
    auto words = distill_arguments(world(), "run", {"--force"});
    set_option(words, "--student", path("run/model.h5"));
    expect_refused(words, {"--student", "run/model.h5", "which --force removes"});
    EXPECT_EQ(world().read("run/model.h5"), model);
    std::filesystem::remove_all(path("run"));

    EXPECT_EQ(world().read("model.h5"), model);
    EXPECT_EQ(world().read("scores.h5"), scores);
}

TEST_F(BadFiles, SummariesInPlaceOfOtherFiles) {
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

TEST_F(BadFiles, ASummaryDoesNotReplaceWhatTheJobItselfMakes) {
    const auto exported = espalier({"export", "--model", path("model.h5"), "--out", path("told"), "--quiet",
                                    "--summary", path("told/config.json")});

    EXPECT_EQ(exported.exit_code, 2);
    EXPECT_NE(exported.err.find("the job itself made a file of this name"), std::string::npos)
        << exported.err;
    EXPECT_EQ(world().read("told/config.json").find("wall_seconds"), std::string::npos);
}

TEST_F(BadFiles, RunsInFoldersOfOtherThings) {
    std::filesystem::create_directory(path("project"));
    world().write("project/config.ini", "[core]\n");

    expect_refused(distill_arguments(world(), "project"), {"project", "no run's"});

    EXPECT_EQ(world().read("project/config.ini"), "[core]\n");

    // What a start leaves that is killed as it writes its first file is no other thing.
    std::filesystem::create_directory(path("begun"));
    world().write("begun/config.ini.partial", "[dist");
    EXPECT_EQ(espalier(distill_arguments(world(), "begun")).exit_code, 0);
}

TEST_F(BadFiles, AReferenceForACheckThatIsNotThere) {
    expect_refused({"prune", "--model", path("model.h5"), "--importance", path("scores.h5"), "--ffn", "20",
                    "--out", path("cut.h5"), "--check", path("none")},
                   {"none"});
}

TEST_F(BadFiles, FoldersThatCannotBeWrittenTo) {
    expect_refused({"init", "--arch", path("arch.json"), "--out", path("no/such/folder/m.h5")},
                   {"no/such/folder"});
}

TEST_F(BadFiles, ForeignCheckpointsThatDoNotFitTheirConfig) {
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

TEST_F(BadFiles, PathsThatLeadNowhere) {
    std::filesystem::create_symlink("loop", path("loop"));
    for (const std::string name : {"loop", "none"}) {
        expect_refused({"import", "--from", path(name), "--out", path("o.h5")}, {path(name)});
        expect_refused(
            {"tokenize", "--tokenizer", path(name), "--input", path("arch.json"), "--out", path("t")},
            {path(name)});
    }
}

TEST_F(BadFiles, ForeignTensorsOfATypeThatCannotBeDecoded) {
    ASSERT_EQ(espalier({"export", "--model", path("model.h5"), "--out", path("u32"), "--quiet"}).exit_code,
              0);
    std::string weights = world().read("u32/model.safetensors");
    const size_t last = weights.find("model.norm.weight");
    weights.replace(weights.find("F32", last), 3, "U32");
    world().write("u32/model.safetensors", weights);

    expect_refused({"import", "--from", path("u32"), "--out", path("o.h5")}, {"model.norm.weight", "U32"});
}

TEST_F(BadFiles, AnExportOverTheFolderThatOneIsIn) {
    std::filesystem::create_directory(path("here"));
    const auto before = std::filesystem::current_path();
    std::filesystem::current_path(path("here"));

    expect_refused({"export", "--model", path("model.h5"), "--out", ".", "--force"},
                   {"--out .", "the folder that you are in"});

    std::filesystem::current_path(before);
}

#ifdef ESPALIER_MISHAPS
// What the next start may not meet again is no bad input: launchers try again.
TEST_F(BadFiles, AFileThatOpensAndCannotBeReadIsTheMachinesError) {
    const auto result =
        espalier({"evaluate", "--model", world().path("model.h5"), "--requests", "/proc/self/mem"});

    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.err.find("cannot read /proc/self/mem beyond line 0: Input/output error"),
              std::string::npos)
        << result.err;
}

TEST_F(BadFiles, AFileServerOutOfReachIsTheMachinesError) {
    for (const std::string name : {"tokens.idx", "tokens.bin", "model.h5"}) {
        const auto result = espalier({"evaluate", "--model", path("model.h5"), "--data", path("tokens")}, 1,
                                     {"LD_PRELOAD=" ESPALIER_MISHAPS, "ESPALIER_LOST=" + name});

        EXPECT_EQ(result.exit_code, 1) << result.err;
        EXPECT_NE(result.err.find("Stale file handle"), std::string::npos) << result.err;
        EXPECT_EQ(result.err.find("internal error"), std::string::npos) << result.err;
    }
}
#endif

}  // namespace
}  // namespace espalier::test
