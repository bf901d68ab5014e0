// Documents from text, and the token that ends them.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "io/indexed_dataset.hpp"
#include "tests/jobs/outcome.hpp"
#include "tests/jobs/program.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Words = std::vector<std::string>;

class Tokenize : public testing::Test {
protected:
    Tokenize() {
        write("tokenizer.json", small_tokenizer().dump());
        write("tokenizer_config.json", R"({"eos_token": "<eos>"})");
    }
    std::string path(const std::string& name) const { return (folder_ / name).string(); }
    void write(const std::string& name, const std::string& content) const {
        std::ofstream(path(name), std::ios::binary) << content;
    }
    ProcessResult run(Words more) const {
        Words arguments{"tokenize",          "--tokenizer", path("tokenizer.json"), "--input",
                        path("lines.jsonl"), "--out",       path("tokens"),         "--quiet"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return espalier(arguments);
    }
    void expect_refused(const Words& more, const Words& says) const { expect_refusal(run(more), says); }
    std::vector<std::vector<int32_t>> documents() const {
        const io::IndexedDataset data(path("tokens"));
        std::vector<std::vector<int32_t>> out;
        for (int64_t d = 0; d < data.count(); ++d) {
            out.emplace_back(data.length(d));
            data.read(d, 0, out.back());
        }
        return out;
    }

private:
    TemporaryFolder folder_;
};

TEST_F(Tokenize, EndsDocumentsAndTakesNoEmptyTextForOne) {
    write("lines.jsonl", "{\"text\": \"ll\"}\n{\"text\": \"\"}\n\n{\"text\": \"in\"}\n");

    ASSERT_EQ(run({"--append-eod"}).exit_code, 0);
    const auto ended = documents();
    ASSERT_EQ(run({"--force"}).exit_code, 0);

    EXPECT_THAT(ended, ElementsAre(ElementsAre(261, 265), ElementsAre(259, 265)));
    EXPECT_THAT(documents(), ElementsAre(ElementsAre(261), ElementsAre(259)));
}

TEST_F(Tokenize, TakesNdjsonForJsonLines) {
    write("lines.ndjson", "{\"text\": \"ll\"}\n{\"text\": \"in\"}\n");

    const auto result = espalier({"tokenize", "--tokenizer", path("tokenizer.json"), "--input",
                                  path("lines.ndjson"), "--out", path("tokens"), "--quiet"});

    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(documents(), ElementsAre(ElementsAre(261), ElementsAre(259)));
}

TEST_F(Tokenize, SaysWhereATokenizerJsonKeepsItsEndOfText) {
    write("lines.jsonl", R"({"text": "in"})");
    std::filesystem::remove(path("tokenizer_config.json"));

    expect_refused({"--append-eod"},
                   {"--append-eod", "tokenizer.json", "eos_token", "tokenizer_config.json"});
}

TEST_F(Tokenize, SaysWhatIsWrongWithALine) {
    write("lines.jsonl", "{\"text\": \"in\"}\n{\"text\": \"\\ud800\"}\n");
    expect_refused({}, {"lines.jsonl, line 2", "invalid Unicode"});
    write("lines.jsonl", "[1]\n");
    expect_refused({}, {"lines.jsonl, line 1", "expected a JSON object"});
}

TEST_F(Tokenize, SaysHowToUnpackCompressedText) {
    using namespace std::string_literals;
    for (const auto& [program, bytes] :
         {std::pair{"gzip"s, "\x1f\x8b\x08"s}, std::pair{"zstd"s, "\x28\xb5\x2f\xfd\x04"s},
          std::pair{"xz"s, "\xfd\x37\x7a\x58\x5a\0\0"s}, std::pair{"bzip2"s, "BZh91AY&SY\xc1"s}}) {
        write("lines.jsonl", bytes);
        expect_refused({}, {program + " -dk " + path("lines.jsonl")});
    }
    EXPECT_FALSE(std::filesystem::exists(path("tokens.idx")));
}

TEST_F(Tokenize, DoesNotGuessWhatJsonIs) {
    write("lines.jsonl", R"({"text": "in"})");
    write("list.json", R"([{"text": "in"}])");

    expect_refused({"--input", path("list.json")}, {"list.json", ".jsonl", ".txt"});
    write("text.txt", R"({"body": "in"})");
    expect_refusal(espalier({"tokenize", "--tokenizer", path("tokenizer.json"), "--input", path("text.txt"),
                             "--out", path("tokens"), "--json-key", "body"}),
                   {"--json-key", ".jsonl"});
}

TEST_F(Tokenize, WantsANameForItsFiles) {
    write("lines.jsonl", R"({"text": "in"})");
    std::filesystem::create_directory(path("folder"));

    for (const std::string& out :
         {std::string(), path("folder") + "/", path("folder/.."), std::string(".")}) {
        const auto result = espalier({"tokenize", "--tokenizer", path("tokenizer.json"), "--input",
                                      path("lines.jsonl"), "--out", out});
        expect_refusal(result, {"--out " + out + ": names no files"});
    }

    EXPECT_TRUE(std::filesystem::is_empty(path("folder")));
}

TEST_F(Tokenize, ShowsHowMuchOfItsInputItHasRead) {
    const std::string lines =
        "{\"title\": \"of the text, not read\", \"text\": \"in\"}\n\n{\"text\": \"ll\"}";
    write("lines.jsonl", lines);
    write("more.txt", "in");

    const auto result = espalier({"tokenize", "--tokenizer", path("tokenizer.json"), "--input",
                                  path("lines.jsonl"), path("more.txt"), "--out", path("tokens")});

    EXPECT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.err, HasSubstr("tokenize 100 % " + std::to_string(lines.size() + 2) + " bytes"));
}

}  // namespace
}  // namespace espalier::test
