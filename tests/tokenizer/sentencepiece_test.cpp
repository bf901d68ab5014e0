// SentencePiece models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "src/core/error.hpp"
#include "src/tokenizer/folder_files.hpp"
#include "tests/tokenizer/trained_sentencepiece.hpp"

namespace espalier::test {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using tokenizer::SkipSpecial;
using tokenizer::Special;
using tokenizer::Tokenizer;
using Ids = std::vector<int32_t>;

const std::string& model() {
    static const std::string bytes = trained_sentencepiece();
    return bytes;
}

TEST(SentencePiece, RoundTripsTextIncludingWhatItNeverSaw) {
    const Tokenizer tokenizer = Tokenizer::from_sentencepiece(model());
    for (const std::string text : {"the thing", "東京 🙂", ""}) {
        const Ids ids = tokenizer.encode(text, Special::none);

        EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::yes), text);
    }
    EXPECT_LT(tokenizer.encode("the thing", Special::none).size(), 5u);
}

TEST(SentencePiece, AddsNothingAroundTheTextByItself) {
    const Tokenizer tokenizer = Tokenizer::from_sentencepiece(model());

    EXPECT_EQ(tokenizer.encode("the", Special::add), tokenizer.encode("the", Special::none));
}

TEST(SentencePiece, KnowsItsSpecialTokens) {
    const Tokenizer tokenizer = Tokenizer::from_sentencepiece(model());

    EXPECT_EQ(tokenizer.unk(), 0);
    EXPECT_EQ(tokenizer.bos(), 1);
    EXPECT_EQ(tokenizer.eos(), 2);
    EXPECT_EQ(tokenizer.pad(), 3);
    EXPECT_EQ(tokenizer.id("</s>"), 2);
    EXPECT_EQ(tokenizer.token(2), "</s>");
    EXPECT_EQ(tokenizer.id("nowhere"), std::nullopt);
    EXPECT_EQ(tokenizer.token(static_cast<int32_t>(tokenizer.vocab_size())), std::nullopt);
}

TEST(SentencePiece, MakesOfTextAllButControlAndUnknownTokens) {
    const Tokenizer tokenizer = Tokenizer::from_sentencepiece(model());
    Ids expected(static_cast<size_t>(tokenizer.vocab_size()) - 4);
    std::iota(expected.begin(), expected.end(), 4);

    EXPECT_EQ(tokenizer.text_ids(), expected);
}

TEST(SentencePiece, ShowsControlTokensInDecodedTextOnRequest) {
    const Tokenizer tokenizer = Tokenizer::from_sentencepiece(model());
    Ids ids = tokenizer.encode("the", Special::none);
    ids.push_back(2);
    ids.push_back(1 << 30);

    EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::yes), "the");
    EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::no), "the</s>");
}

/// In a Hugging Face folder: BPE without a normalisation, as Llama's is.
const std::string& plain_model() {
    static const std::string bytes =
        trained_sentencepiece("--normalization_rule_name=identity --remove_extra_whitespaces=false");
    return bytes;
}

Tokenizer in_folder(const std::string& config, const std::string& added = {}, const std::string& map = {},
                    const std::string& bytes = plain_model()) {
    return Tokenizer::from_sentencepiece(bytes, {config, map, added});
}

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
    return tokenizer.encode(text, Special::none);
}

/// `before`, then `ids`, then `after`.
Ids joined(Ids before, const Ids& ids, const Ids& after = {}) {
    before.insert(before.end(), ids.begin(), ids.end());
    before.insert(before.end(), after.begin(), after.end());
    return before;
}

TEST(SentencePieceInAFolder, GivesTheIdsOfTheModelForTextAlone) {
    const Tokenizer raw = Tokenizer::from_sentencepiece(plain_model()), folder = in_folder("{}");
    for (const std::string text : {"", "the thing  is", "thethe\n\t e", "\u6771\u4eac \U0001f642"}) {
        EXPECT_EQ(encode(folder, text), encode(raw, text)) << text;
        EXPECT_EQ(folder.decode(encode(raw, text), SkipSpecial::yes), text);
    }
}

TEST(SentencePieceInAFolder, AddsWhatItsTokenizerConfigAsksFor) {
    for (const std::string& bytes : {model(), plain_model()}) {
        const auto tokenizer =
            in_folder(R"({"add_bos_token": true, "add_eos_token": true, "eos_token": {"content": "<pad>"}})",
                      "", "", bytes);
        const Ids ids = encode(Tokenizer::from_sentencepiece(bytes), "the");

        EXPECT_EQ(encode(tokenizer, "the"), ids);
        EXPECT_EQ(tokenizer.eos(), 3);
        EXPECT_EQ(tokenizer.bos(), 1);
        EXPECT_EQ(tokenizer.encode("the", Special::add), joined({1}, ids, {3}));
    }
}

TEST(SentencePieceInAFolder, FindsSpecialTokensInAText) {
    const auto tokenizer = in_folder("{}");
    const Ids the = encode(tokenizer, "the"),
              raw = encode(Tokenizer::from_sentencepiece(plain_model()), "<s>the");

    EXPECT_EQ(encode(tokenizer, "the<unk><s></s><pad>"), joined(the, {0, 1, 2, 3}));
    EXPECT_EQ(encode(tokenizer, "</s> the"), joined({2}, the));
    EXPECT_NE(encode(tokenizer, "<s>the"), raw);
    EXPECT_EQ(tokenizer.decode(Ids{1, 2}, SkipSpecial::no), "<s></s>");
}

TEST(SentencePieceInAFolder, PutsASpaceWhereTransformersDoes) {
    const Ids the = encode(in_folder("{}"), "the"),
              bare = encode(in_folder(R"({"add_prefix_space": false})"), "the");
    ASSERT_NE(the, bare);

    EXPECT_EQ(encode(in_folder("{}"), " the"), the);
    EXPECT_EQ(encode(in_folder("{}"), "\u2581the"), the);
    EXPECT_EQ(encode(in_folder("{}"), "</s>the"), joined({2}, bare));
    EXPECT_EQ(encode(in_folder(R"({"legacy": true})"), "</s>the"), joined({2}, the));
    EXPECT_EQ(encode(in_folder(R"({"add_prefix_space": false})"), " the"), the);
    EXPECT_EQ(in_folder(R"({"add_prefix_space": false})").decode(the, SkipSpecial::yes), " the");
}

TEST(SentencePieceInAFolder, MakesNoAddedTokenOfText) {
    const Tokenizer alone = Tokenizer::from_sentencepiece(model());
    const std::string behind = std::to_string(alone.vocab_size() + 5);

    EXPECT_EQ(in_folder("{}", R"({"<end>": )" + behind + "}", "", model()).text_ids(), alone.text_ids());
}

TEST(SentencePieceInAFolder, KnowsTokensThatWereAddedBehindTheVocabulary) {
    const auto size = static_cast<int32_t>(Tokenizer::from_sentencepiece(plain_model()).vocab_size());
    const std::string id = std::to_string(size);
    const std::string config = R"({"eos_token": "<end>"})", added = R"({"<end>": )" + id + "}";
    const auto listed = in_folder(R"({"eos_token": "<end>", "added_tokens_decoder": {")" + id +
                                  R"(": {"content": "<end>", "rstrip": true, "special": true}}})");

    for (const auto& tokenizer : {in_folder(config, added), in_folder("{}", added, config), listed,
                                  in_folder(config, added, "", model())}) {
        EXPECT_EQ(tokenizer.eos(), size);
        EXPECT_EQ(tokenizer.vocab_size(), size + 1);
        EXPECT_EQ(tokenizer.id("<end>"), size);
        EXPECT_EQ(tokenizer.token(size), "<end>");
        EXPECT_EQ(encode(tokenizer, "<end>"), Ids{size});
        EXPECT_EQ(tokenizer.decode(Ids{size, 1}, SkipSpecial::no), "<end><s>");
        EXPECT_EQ(tokenizer.decode(Ids{size, 1}, SkipSpecial::yes), "");
    }
    EXPECT_EQ(encode(listed, "<end>  "), Ids{size});
}

TEST(SentencePieceInAFolder, LeavesATokenWithoutAnIdUnknown) {
    const auto tokenizer = in_folder(R"({"pad_token": "[PAD]", "eos_token": "[END]"})");

    EXPECT_EQ(tokenizer.id("[PAD]"), std::nullopt);
    EXPECT_EQ(tokenizer.eos(), 2);  // the model's own
    EXPECT_EQ(tokenizer.vocab_size(), Tokenizer::from_sentencepiece(plain_model()).vocab_size());
}

TEST(SentencePieceInAFolder, EncodesWhatIsBetweenAddedTokensByItsOwnNormalisation) {
    const Tokenizer raw = Tokenizer::from_sentencepiece(model()), folder = in_folder("{}", "", "", model());

    EXPECT_EQ(encode(folder, " the  \uff54hing"), encode(raw, "the thing"));
    EXPECT_EQ(encode(folder, "the</s>thing"), joined(joined(encode(raw, "the"), {2}), encode(raw, "thing")));
}

TEST(SentencePieceInAFolder, RefusesFilesThatAreDamaged) {
    const auto refuses = [](const std::string& config, const std::string& added, const char* says) {
        EXPECT_THAT([&] { in_folder(config, added); }, ThrowsMessage<UserError>(HasSubstr(says)));
    };
    refuses("{", "", "tokenizer_config.json");
    refuses("[]", "", "tokenizer_config.json: expected a JSON object");
    refuses("{}", R"({"<x>": -1})", "added_tokens.json: <x>");
    refuses(R"({"added_tokens_decoder": {"a": {"content": "<x>"}}})", "", "'a' is not a token's id");
    refuses(R"({"added_tokens_decoder": {"5": {}}})", "", "content");
}

TEST(SentencePiece, RefusesWhatIsNoModelAndToBeWrittenAsJson) {
    EXPECT_THAT([] { Tokenizer::from_sentencepiece("{}"); },
                ThrowsMessage<UserError>(HasSubstr("SentencePiece")));
    EXPECT_THAT([] { Tokenizer::from_sentencepiece(""); },
                ThrowsMessage<UserError>(HasSubstr("SentencePiece")));
    EXPECT_THAT([] { Tokenizer::from_sentencepiece(model().substr(0, model().size() / 2)); },
                ThrowsMessage<UserError>(HasSubstr("SentencePiece")));
    EXPECT_THAT([] { static_cast<void>(Tokenizer::from_sentencepiece(model()).to_json()); },
                ThrowsMessage<UserError>(HasSubstr(".model")));
}

}  // namespace
}  // namespace espalier::test
