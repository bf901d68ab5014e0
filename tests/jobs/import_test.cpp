// Models whose tokenizer nobody can read: their weights are imported all the same, and every job says so.
#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/io/weight_files.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using Words = std::vector<std::string>;

constexpr uint32_t f32_value = 6, bool_value = 7, text_value = 8, u32_value = 4, i32_value = 5;
constexpr uint64_t hidden = 8, ffn = 8, vocab = 266;

std::string number(const std::string& key, uint32_t value) {
    return gguf_value(key, u32_value, raw(value));
}

std::string texts(const std::string& key, const Words& values) {
    std::string elements;
    for (const auto& value : values) elements += gguf_text(value);
    return gguf_array(key, text_value, values.size(), elements);
}

/// A Llama of one layer whose weights are ramps, with these keys of a tokenizer.
std::string llama_gguf(const Words& tokenizer) {
    GgufFileSpec spec;
    spec.metadata = {gguf_value("general.architecture", text_value, gguf_text("llama")),
                     number("llama.embedding_length", hidden),
                     number("llama.block_count", 1),
                     number("llama.attention.head_count", 2),
                     number("llama.feed_forward_length", ffn),
                     number("llama.context_length", 64),
                     gguf_value("llama.attention.layer_norm_rms_epsilon", f32_value, raw(1e-5F))};
    spec.metadata.insert(spec.metadata.end(), tokenizer.begin(), tokenizer.end());
    const auto add = [&](const std::string& name, const std::vector<uint64_t>& dimensions) {
        std::vector<float> values(dimensions.size() == 1 ? dimensions[0] : dimensions[0] * dimensions[1]);
        for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7) / 8;
        spec.tensors.push_back({.name = name + ".weight", .dimensions = dimensions, .data = raw(values)});
    };
    add("token_embd", {hidden, vocab});
    for (const char* norm : {"output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"}) add(norm, {hidden});
    for (const char* square : {"attn_q", "attn_k", "attn_v", "attn_output"})
        add(std::string("blk.0.") + square, {hidden, hidden});
    for (const char* wide : {"ffn_gate", "ffn_up"}) add(std::string("blk.0.") + wide, {hidden, ffn});
    add("blk.0.ffn_down", {ffn, hidden});
    return gguf_bytes(spec);
}

/// The keys of the small byte-level vocabulary.
Words byte_level_keys(const tokenizer::GgufVocabulary& v) {
    std::vector<int32_t> types(v.token_types.begin(), v.token_types.end());
    return {gguf_value("tokenizer.ggml.model", text_value, gguf_text(v.model)),
            gguf_value("tokenizer.ggml.pre", text_value, gguf_text(v.pre)),
            texts("tokenizer.ggml.tokens", v.tokens),
            texts("tokenizer.ggml.merges", v.merges),
            gguf_array("tokenizer.ggml.token_type", i32_value, types.size(), raw(types)),
            number("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*v.bos)),
            number("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*v.eos))};
}

/// <unk>, <s>, </s>, and pieces of "ab".
Words sentencepiece_keys() {
    const std::vector<int32_t> types{2, 3, 3, 1, 1, 1, 1, 1};
    const std::vector<float> scores{0, 0, 0, -4, -5, -6, -1, -2};
    return {gguf_value("tokenizer.ggml.model", text_value, gguf_text("llama")),
            texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab", "\u2581ab"}),
            gguf_array("tokenizer.ggml.scores", f32_value, scores.size(), raw(scores)),
            gguf_array("tokenizer.ggml.token_type", i32_value, types.size(), raw(types)),
            number("tokenizer.ggml.bos_token_id", 1),
            number("tokenizer.ggml.eos_token_id", 2),
            gguf_value("tokenizer.ggml.add_eos_token", bool_value, raw<uint8_t>(1))};
}

class Import : public testing::Test {
protected:
    static void SetUpTestSuite() { world_ = std::make_unique<TinyWorld>(); }
    static void TearDownTestSuite() { world_.reset(); }
    static TinyWorld& world() { return *world_; }
    static std::string path(const std::string& name) { return world().path(name); }

    static ProcessResult run(const Words& arguments) {
        auto result = espalier(arguments);
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result;
    }
    static json summary() { return json::parse(world().read("s.json")); }
    /// What standard error says; the model is then in m.h5 and the summary in s.json.
    static std::string import(const std::string& from, const Words& more = {}) {
        Words words{"import",  "--from",  path(from),  "--out",       path("m.h5"),
                    "--quiet", "--force", "--summary", path("s.json")};
        words.insert(words.end(), more.begin(), more.end());
        return run(words).err;
    }
    static std::string exported() {
        return run({"export", "--model", path("m.h5"), "--out", path("hf"), "--force", "--quiet", "--summary",
                    path("s.json")})
            .err;
    }
    static ProcessResult generate(const Words& more = {}) {
        Words words{"generate", "--model", path("m.h5"), "--prompt", "ab", "--max-tokens", "1", "--quiet"};
        words.insert(words.end(), more.begin(), more.end());
        return espalier(words);
    }

private:
    static inline std::unique_ptr<TinyWorld> world_;
};

TEST_F(Import, OfATokenizerThatCannotBeReadKeepsTheWeightsAndSaysWhatIsMissing) {
    world().write("good.gguf", llama_gguf(byte_level_keys(small_gguf())));
    EXPECT_EQ(import("good.gguf"), "");
    EXPECT_EQ(summary().at("tokenizer"), true);
    EXPECT_EQ(exported(), "");
    const std::string weights = world().read("hf/model.safetensors");
    const auto told = [&](auto change, const std::string& why) {
        auto vocabulary = small_gguf();
        change(vocabulary);
        world().write("bad.gguf", llama_gguf(byte_level_keys(vocabulary)));

        EXPECT_THAT(import("bad.gguf"), AllOf(HasSubstr("warning: " + path("bad.gguf")), HasSubstr(why),
                                              HasSubstr("--tokenizer DIR")));

        EXPECT_EQ(summary().at("tokenizer"), false);
        EXPECT_THAT(summary().at("tokenizer_trouble").get<std::string>(), HasSubstr(why));
        EXPECT_THAT(exported(), AllOf(HasSubstr("warning"), HasSubstr("carries no tokenizer")));
        EXPECT_EQ(summary().at("tokenizer"), false);
        EXPECT_EQ(world().read("hf/model.safetensors"), weights);
        EXPECT_FALSE(world().exists("hf/tokenizer.json"));
    };

    told([](auto& v) { v.model = "bert"; }, "tokenizer.ggml.model 'bert' is not supported");
    told([](auto& v) { v.model = "llama"; }, "0 scores");
    told([](auto& v) { v.pre = "poro\xff"; }, "tokenizer.ggml.pre 'poro\uFFFD' is not supported");
    told([](auto& v) { v.token_types.pop_back(); }, "265 token types");
    told([](auto& v) { v.tokens[5] = "\xff"; }, "tokens[5] is not UTF-8");
    told([](auto& v) { v.merges[1] = "he"; }, "merges[1]");
    told([](auto& v) { v.eos = 9999; }, "eos_token_id is 9999");
}

TEST_F(Import, OfAFileWithoutATokenizerOrWithAKeyOfAnotherTypeIsNoOther) {
    world().write("none.gguf", llama_gguf({}));
    EXPECT_THAT(import("none.gguf"), HasSubstr("the file names no tokenizer"));

    world().write("list.gguf", llama_gguf({number("tokenizer.ggml.model", 3)}));
    EXPECT_THAT(import("list.gguf"), HasSubstr("'tokenizer.ggml.model'"));
}

TEST_F(Import, LeavesJobsThatReadTextToAnotherTokenizer) {
    world().write("none.gguf", llama_gguf({}));
    world().write("tokenizer.json", small_tokenizer().dump());
    world().write("text.txt", "then");
    import("none.gguf");

    const auto refused = generate();
    const auto tokenized = espalier({"tokenize", "--tokenizer", path("m.h5"), "--input", path("text.txt"),
                                     "--out", path("text"), "--quiet"});
    const auto from_gguf = espalier({"tokenize", "--tokenizer", path("none.gguf"), "--input",
                                     path("text.txt"), "--out", path("text"), "--quiet"});

    EXPECT_EQ(from_gguf.exit_code, 2);
    EXPECT_THAT(from_gguf.err, AllOf(HasSubstr("names no tokenizer"), HasSubstr("tokenizer.json")));
    for (const auto& result : {refused, tokenized}) {
        EXPECT_EQ(result.exit_code, 2);
        EXPECT_THAT(result.err, AllOf(HasSubstr("m.h5"), HasSubstr("carries no tokenizer"),
                                      HasSubstr("import --tokenizer DIR"), HasSubstr("--tokenizer PATH")));
    }
    const auto given = generate({"--tokenizer", path("tokenizer.json")});
    EXPECT_EQ(given.exit_code, 0) << given.err;
}

TEST_F(Import, TakesTheTokenizerOfAFolder) {
    world().write("none.gguf", llama_gguf({}));
    std::filesystem::create_directory(path("folder"));
    const Words words{"import",     "--from",      path("none.gguf"), "--out",
                      path("n.h5"), "--tokenizer", path("folder")};
    const auto empty = espalier(words);
    EXPECT_EQ(empty.exit_code, 2);
    EXPECT_THAT(empty.err, AllOf(HasSubstr("--tokenizer"), HasSubstr("folder"), HasSubstr("tokenizer.json")));
    EXPECT_FALSE(world().exists("n.h5"));
    world().write("folder/tokenizer.json", small_tokenizer().dump());

    EXPECT_EQ(import("none.gguf", {"--tokenizer", path("folder")}), "");

    EXPECT_EQ(summary().at("tokenizer"), true);
    EXPECT_EQ(generate().exit_code, 0);
    EXPECT_EQ(exported(), "");
    EXPECT_EQ(world().read("hf/tokenizer.json"), small_tokenizer().dump());
}

TEST_F(Import, ReplacesEveryTokenizerFileOfTheSource) {
    run({"export", "--model", path("model.h5"), "--out", path("source"), "--quiet", "--force"});
    std::filesystem::create_directories(path("other"));
    world().write("source/tokenizer.json", small_tokenizer().dump());
    world().write("source/vocab.json", "{}");
    world().write("source/generation_config.json", R"({"eos_token_id": 5})");
    world().write("other/tokenizer.json", small_tokenizer().dump(1));

    import("source", {"--tokenizer", path("other")});
    exported();

    EXPECT_EQ(world().read("hf/tokenizer.json"), small_tokenizer().dump(1));
    EXPECT_FALSE(world().exists("hf/vocab.json"));
    EXPECT_EQ(world().read("hf/generation_config.json"), R"({"eos_token_id": 5})");
}

TEST_F(Import, OfAFolderSaysTheSameAndCarriesWhatItCannotRead) {
    run({"export", "--model", path("model.h5"), "--out", path("source"), "--quiet", "--force"});
    for (const char* name : {"tokenizer.json", "vocab.json", "generation_config.json"})
        std::filesystem::remove(path("source") + "/" + name);
    EXPECT_THAT(import("source"), AllOf(HasSubstr("warning"), HasSubstr("neither tokenizer.json nor"),
                                        HasSubstr("--tokenizer DIR")));
    json unigram = small_tokenizer();
    unigram["model"]["type"] = "Unigram";
    for (const std::string& content : {unigram.dump(), std::string("{")}) {
        world().write("source/tokenizer.json", content);

        EXPECT_THAT(import("source"), AllOf(HasSubstr("warning"), HasSubstr("tokenizer.json")));

        EXPECT_EQ(summary().at("tokenizer"), false);
        const auto refused = generate();
        EXPECT_EQ(refused.exit_code, 2);
        EXPECT_THAT(refused.err, AllOf(HasSubstr("cannot be used"), HasSubstr("--tokenizer PATH")));
        exported();
        EXPECT_EQ(world().read("hf/tokenizer.json"), content);
    }
}

TEST_F(Import, LeavesTheEndOfDocumentsToAnOption) {
    run({"export", "--model", path("model.h5"), "--out", path("source"), "--quiet", "--force"});
    world().write("source/tokenizer.json", "{");
    import("source");
    Words words{"evaluate",     "--model",   path("m.h5"), "--data",
                path("tokens"), "--seq-len", "16",         "--reset-attention"};

    const auto refused = espalier(words);
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.err, AllOf(HasSubstr("cannot be used"), HasSubstr("--eod ID")));

    Words given = words;
    given.insert(given.end(), {"--eod", "3", "--quiet"});
    EXPECT_EQ(espalier(given).exit_code, 0);
    json config = json::parse(world().read("source/config.json"));
    config["eos_token_id"] = 7;
    world().write("source/config.json", config.dump());
    import("source");
    const auto by_config = espalier(words);
    EXPECT_EQ(by_config.exit_code, 0) << by_config.err;
    EXPECT_THAT(by_config.out, HasSubstr("documents end with token 7"));
}

TEST_F(Import, TakesATokenizerJsonOfTheSentencePieceKindAndGivesItBack) {
    run({"export", "--model", path("model.h5"), "--out", path("source"), "--quiet", "--force"});
    const std::string content = small_character_tokenizer().dump();
    world().write("source/tokenizer.json", content);
    world().write("source/tokenizer_config.json", R"({"eos_token": "</s>"})");
    world().write("text.txt", " the \u00e9</s>");

    EXPECT_EQ(import("source"), "");
    EXPECT_EQ(exported(), "");
    run({"tokenize", "--tokenizer", path("m.h5"), "--input", path("text.txt"), "--append-eod", "--out",
         path("ids"), "--quiet", "--force"});

    EXPECT_EQ(summary().at("tokenizer"), true);
    EXPECT_EQ(world().read("hf/tokenizer.json"), content);
    std::string ids;
    for (const int id : {1, 259, 267, 259, 3 + 0xC3, 3 + 0xA9, 2, 2}) ids += raw(static_cast<uint16_t>(id));
    EXPECT_EQ(world().read("ids.bin"), ids);
}

TEST_F(Import, FallsBackOnATokenizerModelAndSaysSo) {
    world().write("spm.gguf", llama_gguf(sentencepiece_keys()));
    import("spm.gguf");
    exported();
    json unigram = small_character_tokenizer();
    unigram["model"]["type"] = "Unigram";
    world().write("hf/tokenizer.json", unigram.dump());
    std::filesystem::rename(path("hf"), path("made"));
    world().write("text.txt", "ab</s>");
    const auto note =
        AllOf(HasSubstr("'Unigram' is not supported"), HasSubstr("tokenizer.model beside it is"));

    const auto imported = run(
        {"import", "--from", path("made"), "--out", path("m.h5"), "--force", "--summary", path("s.json")});

    EXPECT_THAT(imported.out, note);
    EXPECT_EQ(summary().at("tokenizer"), true);
    for (const char* tokenizer : {"m.h5", "made"}) {
        const auto told = run({"tokenize", "--tokenizer", path(tokenizer), "--input", path("text.txt"),
                               "--out", path("ids"), "--force"});
        EXPECT_THAT(told.out, note);
        EXPECT_EQ(world().read("ids.bin"),
                  raw<uint16_t>(1) + raw<uint16_t>(7) + raw<uint16_t>(2) + raw<uint16_t>(2));
    }
    exported();
    EXPECT_EQ(world().read("hf/tokenizer.json"), unigram.dump());
    world().write("hf/tokenizer.model", "none");
    const auto neither = espalier({"tokenize", "--tokenizer", path("hf"), "--input", path("text.txt"),
                                   "--out", path("ids"), "--force"});
    EXPECT_EQ(neither.exit_code, 2);
    EXPECT_THAT(neither.err, AllOf(HasSubstr("'Unigram'"), HasSubstr("nor can tokenizer.model beside it")));
}

TEST_F(Import, FromAFolderThatAnExportWouldReplaceKeepsIt) {
    run({"export", "--model", path("model.h5"), "--out", path("only"), "--quiet", "--force"});
    import("only");

    const auto back =
        espalier({"export", "--model", path("m.h5"), "--out", path("only"), "--quiet", "--force"});

    expect_refusal(back, {"was imported from, which --force does not replace"});
    EXPECT_TRUE(world().exists("only/model.safetensors"));
}

TEST_F(Import, WorksInAFolderWhoseNameIsNotUtf8) {
    run({"export", "--model", path("model.h5"), "--out", path("plain"), "--quiet"});
    const auto here = std::filesystem::current_path();
    const std::filesystem::path folder = path("caf\xe9");
    std::filesystem::create_directory(folder);
    std::filesystem::current_path(folder);

    const auto result = espalier({"import", "--from", "../plain", "--out", "m.h5", "--quiet"});

    std::filesystem::current_path(here);
    expect_done(result);
    EXPECT_TRUE(std::filesystem::exists(folder / "m.h5"));
}

TEST_F(Import, ReadsAModelThatStandsAloneAsItIs) {
    world().write("spm.gguf", llama_gguf(sentencepiece_keys()));
    import("spm.gguf");
    exported();
    std::filesystem::create_directories(path("alone"));
    std::filesystem::copy_file(path("hf/tokenizer.model"), path("alone/tokenizer.model"));
    world().write("text.txt", "</s>");
    const auto ids = [&](const char* tokenizer) {
        run({"tokenize", "--tokenizer", path(tokenizer), "--input", path("text.txt"), "--out", path("ids"),
             "--quiet", "--force"});
        return world().read("ids.bin");
    };

    EXPECT_EQ(ids("alone"), raw<uint16_t>(2));
    EXPECT_NE(ids("alone/tokenizer.model"), raw<uint16_t>(2));
}

TEST_F(Import, TakesTheSentencePieceTokenizerOfAGguf) {
    world().write("spm.gguf", llama_gguf(sentencepiece_keys()));
    world().write("text.jsonl", R"({"text": "ab"})");

    EXPECT_EQ(import("spm.gguf"), "");
    EXPECT_EQ(exported(), "");

    EXPECT_TRUE(world().exists("hf/tokenizer.model"));
    EXPECT_TRUE(world().exists("hf/tokenizer.json"));
    EXPECT_EQ(json::parse(world().read("hf/tokenizer_config.json")).at("add_bos_token"), true);
    EXPECT_EQ(generate().exit_code, 0);
    std::string first;
    for (const char* tokenizer : {"spm.gguf", "m.h5", "hf", "hf/tokenizer.model"}) {
        run({"tokenize", "--tokenizer", path(tokenizer), "--input", path("text.jsonl"), "--out", path("ids"),
             "--quiet", "--force"});
        if (first.empty()) first = world().read("ids.bin");
        EXPECT_EQ(world().read("ids.bin"), first) << tokenizer;
    }
    EXPECT_EQ(first, raw<uint16_t>(1) + raw<uint16_t>(7) + raw<uint16_t>(2));
}

}  // namespace
}  // namespace espalier::test
