// SentencePiece models out of GGUF files, against the models that the files were made of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "src/core/error.hpp"
#include "src/tokenizer/folder_files.hpp"
#include "src/tokenizer/gguf_vocabulary.hpp"
#include "tests/tokenizer/trained_sentencepiece.hpp"

namespace espalier::test {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using tokenizer::GgufVocabulary;
using tokenizer::SkipSpecial;
using tokenizer::Special;
using tokenizer::Tokenizer;
using Ids = std::vector<int32_t>;

constexpr const char* llama = "--normalization_rule_name=identity --remove_extra_whitespaces=false ";

/// What llama.cpp's converter takes out of a model.
GgufVocabulary vocabulary_of(const std::string& model) {
    sentencepiece::SentencePieceProcessor pieces;
    if (!pieces.LoadFromSerializedProto(model).ok()) throw std::runtime_error("no model");
    GgufVocabulary out;
    out.model = "llama";
    for (int id = 0; id < pieces.GetPieceSize(); ++id) {
        out.tokens.push_back(pieces.IdToPiece(id));
        out.scores.push_back(pieces.GetScore(id));
        out.token_types.push_back(pieces.IsUnknown(id)   ? 2
                                  : pieces.IsControl(id) ? 3
                                  : pieces.IsUnused(id)  ? 5
                                  : pieces.IsByte(id)    ? 6
                                                         : 1);
    }
    out.unk = 0;
    out.bos = 1;
    out.eos = 2;
    out.pad = 3;
    out.add_bos = true;
    return out;
}

/// Of texts whose ids transformers and libsentencepiece agree on: without special tokens, and without a space
/// at the beginning.
void expect_same_ids(const GgufVocabulary& vocabulary, const std::string& model) {
    const Tokenizer original = Tokenizer::from_sentencepiece(model);
    const Tokenizer again = Tokenizer::from_gguf(vocabulary);
    for (const std::string text : {"", "the thing", "the  theory   of things ", "thethe\n\tend",
                                   "\u6771\u4eac \U0001f642", "\ufb01n e\u0301", "<word>"}) {
        const Ids ids = original.encode(text, Special::none);

        EXPECT_EQ(again.encode(text, Special::none), ids) << text;
        EXPECT_EQ(again.decode(ids, SkipSpecial::no), original.decode(ids, SkipSpecial::no)) << text;
    }
}

TEST(SentencePieceModel, OfAGgufFileGivesTheIdsOfTheModelItWasMadeOf) {
    const std::string model = trained_sentencepiece(llama);

    expect_same_ids(vocabulary_of(model), model);
}

TEST(SentencePieceModel, BeginsATextWithASpaceWhereTheFileSaysSo) {
    const std::string model = trained_sentencepiece(std::string(llama) + "--add_dummy_prefix=false");
    GgufVocabulary vocabulary = vocabulary_of(model);

    const Ids with_space = Tokenizer::from_gguf(vocabulary).encode("the", Special::none);
    vocabulary.add_space_prefix = false;

    expect_same_ids(vocabulary, model);
    EXPECT_NE(Tokenizer::from_gguf(vocabulary).encode("the", Special::none), with_space);
}

TEST(SentencePieceModel, PutsNoSpaceBeforeATextThatBeginsWithOne) {
    const GgufVocabulary vocabulary = vocabulary_of(trained_sentencepiece(llama));
    const Tokenizer tokenizer = Tokenizer::from_gguf(vocabulary);

    EXPECT_EQ(tokenizer.encode(" the", Special::none), tokenizer.encode("the", Special::none));
    EXPECT_EQ(tokenizer.encode("\u2581the", Special::none), tokenizer.encode("the", Special::none));
}

TEST(SentencePieceModel, FindsSpecialAndUserDefinedTokensAsTheFileSpellsThem) {
    const std::string model =
        trained_sentencepiece(std::string(llama) + "--user_defined_symbols=<word>,\u2581\u2581");
    GgufVocabulary vocabulary = vocabulary_of(model);
    vocabulary.token_types[4] = vocabulary.token_types[5] = 4;
    ASSERT_EQ(vocabulary.tokens[5], "\u2581\u2581");
    vocabulary.tokens[5] = "  ";

    const Tokenizer tokenizer = Tokenizer::from_gguf(vocabulary);

    EXPECT_EQ(tokenizer.encode("<s>  <word></s>", Special::none), (Ids{1, 5, 4, 2}));
    EXPECT_EQ(tokenizer.decode(Ids{1, 5, 4, 2}, SkipSpecial::yes), " <word>");  // the first one is the prefix
    EXPECT_EQ(tokenizer.decode(Ids{1, 5, 4, 2}, SkipSpecial::no), "<s>  <word></s>");
}

TEST(SentencePieceModel, TakesTheMergesThatTheFileLists) {
    GgufVocabulary vocabulary = vocabulary_of(trained_sentencepiece(llama));
    const Tokenizer by_score = Tokenizer::from_gguf(vocabulary);
    vocabulary.merges = {"\u2581 t"};

    const Ids ids = Tokenizer::from_gguf(vocabulary).encode("the", Special::none);

    EXPECT_EQ(ids, (Ids{*by_score.id("\u2581t"), *by_score.id("h"), *by_score.id("e")}));
    EXPECT_LT(by_score.encode("the", Special::none).size(), ids.size());
}

TEST(SentencePieceModel, KnowsItsSpecialTokensAndAddsThoseThatTheFileAddsToTexts) {
    GgufVocabulary vocabulary = vocabulary_of(trained_sentencepiece(llama));
    const Ids ids = Tokenizer::from_gguf(vocabulary).encode("the", Special::none);
    const auto with = [&](std::vector<int32_t> before, std::vector<int32_t> after) {
        before.insert(before.end(), ids.begin(), ids.end());
        before.insert(before.end(), after.begin(), after.end());
        return before;
    };

    EXPECT_EQ(Tokenizer::from_gguf(vocabulary).encode("the", Special::add), with({1}, {}));
    vocabulary.add_eos = true;
    vocabulary.eos = 300 - 1;  // as a chat model's end of a turn, which is an ordinary token
    const Tokenizer tokenizer = Tokenizer::from_gguf(vocabulary);
    EXPECT_EQ(tokenizer.encode("the", Special::add), with({1}, {299}));
    EXPECT_EQ(tokenizer.eos(), 299);
    EXPECT_EQ(tokenizer.bos(), 1);
    EXPECT_EQ(tokenizer.unk(), 0);
    EXPECT_EQ(tokenizer.pad(), 3);
}

TEST(SentencePieceModel, IsWrittenWithTheConfigThatSaysTheSame) {
    GgufVocabulary vocabulary = vocabulary_of(trained_sentencepiece(llama));
    vocabulary.chat_template = "{{ messages }}";
    vocabulary.context_length = 2048;

    const auto files = tokenizer::files_of(vocabulary);
    const auto config = nlohmann::json::parse(files.at("tokenizer_config.json"));
    const Tokenizer original = Tokenizer::from_gguf(vocabulary);
    const Tokenizer model = Tokenizer::from_sentencepiece(files.at("tokenizer.model"),
                                                          {files.at("tokenizer_config.json"), {}, {}});
    const Tokenizer json =
        Tokenizer::from_json(files.at("tokenizer.json"), files.at("tokenizer_config.json"));

    EXPECT_EQ(files.size(), 3u);
    for (const Tokenizer& again : {model, json}) {
        EXPECT_EQ(again.encode(" the end</s> ", Special::add),
                  original.encode(" the end</s> ", Special::add));
        EXPECT_EQ(again.eos(), 2);
    }
    EXPECT_EQ(config["tokenizer_class"], "LlamaTokenizer");
    EXPECT_EQ(config["add_bos_token"], true);
    EXPECT_EQ(config["add_eos_token"], false);
    EXPECT_EQ(config["eos_token"], "</s>");
    EXPECT_EQ(config["chat_template"], "{{ messages }}");
    EXPECT_EQ(config["model_max_length"], 2048);
}

TEST(SentencePieceModel, RefusesAVocabularyThatIsNone) {
    const GgufVocabulary whole = vocabulary_of(trained_sentencepiece(llama));
    const auto refuses = [&](auto change, const char* says) {
        GgufVocabulary vocabulary = whole;
        change(vocabulary);
        EXPECT_THAT([&] { Tokenizer::from_gguf(vocabulary); }, ThrowsMessage<UserError>(HasSubstr(says)));
    };
    refuses([](auto& v) { v.scores.pop_back(); }, "scores; the file is damaged");
    refuses([](auto& v) { v.token_types.clear(); }, "0 token types");
    refuses([](auto& v) { v.tokens = {}, v.scores = {}, v.token_types = {}; }, "0 tokens");
    refuses([](auto& v) { v.scores.assign(v.scores.size(), -1000); }, "alike");
    refuses([](auto& v) { v.scores[270] = NAN; }, "token 270 has type 1 and score nan");
    refuses([](auto& v) { v.token_types[270] = 7; }, "token 270 has type 7");
    refuses([](auto& v) { v.tokens[270] = "\xff"; }, "tokens[270]");
    refuses([](auto& v) { v.tokens[270] = v.tokens[271]; }, "SentencePiece");
    refuses([](auto& v) { v.token_types[0] = 1; }, "SentencePiece");
    refuses([](auto& v) { v.eos = 1 << 20; }, "eos_token_id is 1048576");
}

}  // namespace
}  // namespace espalier::test
