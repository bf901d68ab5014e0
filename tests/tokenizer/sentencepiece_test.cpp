// SentencePiece models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "src/core/error.hpp"
#include "src/tokenizer/tokenizer.hpp"
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

TEST(SentencePiece, AddsWhatItsTokenizerConfigAsksFor) {
    const Tokenizer tokenizer = Tokenizer::from_sentencepiece(
        model(), R"({"add_bos_token": true, "add_eos_token": true, "eos_token": {"content": "<pad>"}})");
    Ids expected = Tokenizer::from_sentencepiece(model()).encode("the", Special::none);

    EXPECT_EQ(tokenizer.encode("the", Special::none), expected);
    EXPECT_EQ(tokenizer.eos(), 3);
    EXPECT_EQ(tokenizer.bos(), 1);
    expected.insert(expected.begin(), 1);
    expected.push_back(3);
    EXPECT_EQ(tokenizer.encode("the", Special::add), expected);
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
