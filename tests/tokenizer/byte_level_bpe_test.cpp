// Ids of a vocabulary that can be followed by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <thread>

#include "src/core/error.hpp"
#include "src/tokenizer/merges.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::ThrowsMessage;
using tokenizer::MergeTable;
using tokenizer::SkipSpecial;
using tokenizer::Special;
using tokenizer::Tokenizer;

Tokenizer small() {
    return Tokenizer::from_json(small_tokenizer().dump());
}

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
    return tokenizer.encode(text, Special::none);
}

TEST(Merges, TakeTheLowestRankFirstAndThenTheLeftmost) {
    MergeTable table;  // "aaab": a a -> 10 before a b -> 11
    table.add(1, 1, 0, 10);
    table.add(1, 2, 1, 11);

    Ids ids = {1, 1, 1, 2};
    table.apply(ids);

    EXPECT_EQ(ids, (Ids{10, 11}));
}

TEST(Merges, TakeALowRankThatALaterMergeMakesPossible) {
    MergeTable table;
    table.add(2, 3, 5, 23);
    table.add(1, 23, 0, 123);
    table.add(3, 4, 6, 34);

    Ids ids = {1, 2, 3, 4};
    table.apply(ids);

    EXPECT_EQ(ids, (Ids{123, 4}));
}

TEST(ByteLevelBpe, MergesWithinWordsAndNotAcrossThem) {
    const Tokenizer tokenizer = small();

    EXPECT_EQ(encode(tokenizer, "the thing"), (Ids{'t', 257, 256, 'h', 260}));  // t he | Ġt h ing
    EXPECT_EQ(encode(tokenizer, " the"), (Ids{258}));
    EXPECT_EQ(encode(tokenizer, "he'll"), (Ids{257, '\'', 261}));
}

TEST(ByteLevelBpe, GivesTheSameIdsFromTheCacheAndForPiecesTooLongForIt) {
    const Tokenizer tokenizer = small();
    const std::string longer(5000, 'l');

    const Ids first = encode(tokenizer, "the " + longer), second = encode(tokenizer, "the " + longer);

    Ids expected = {'t', 257, ' '};
    expected.resize(3 + 2500, 261);
    EXPECT_EQ(first, expected);
    EXPECT_EQ(second, expected);
}

TEST(ByteLevelBpe, EncodesFromSeveralThreadsAtOnce) {
    const Tokenizer tokenizer = small();
    std::string text;
    for (int i = 0; i < 2000; ++i) text += " the" + std::to_string(i);
    const Ids expected = encode(small(), text);

    std::vector<Ids> results(4);
    std::vector<std::thread> threads;
    for (Ids& result : results) threads.emplace_back([&] { result = encode(tokenizer, text); });
    for (auto& thread : threads) thread.join();

    for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST(ByteLevelBpe, RoundTripsAnyText) {
    const Tokenizer tokenizer = small();
    for (const std::string text :
         {"", " ", "the thing", "Ünï \t\r\n  東京 🙂 12", "<bos>a<eos>", "Ġ<bo"}) {
        const Ids ids = encode(tokenizer, text);

        EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::no), text);
    }
    EXPECT_EQ(encode(tokenizer, "é"), bytes("é"));
}

TEST(ByteLevelBpe, DecodesACharacterCutApartToTheReplacementCharacter) {
    const Tokenizer tokenizer = small();

    EXPECT_EQ(tokenizer.decode(Ids{'a', 0xE6, 0x9D, 'b', 0xFF, 0xC3, 0xA9}, SkipSpecial::no),
              "a\uFFFDb\uFFFD\u00E9");
}

TEST(ByteLevelBpe, DecodesIdsWithoutATokenToNothing) {
    EXPECT_EQ(small().decode(Ids{'a', 5000, -1, 'b'}, SkipSpecial::no), "ab");
}

TEST(ByteLevelBpe, LeavesSpecialTokensOutOfDecodedTextOnRequest) {
    const Ids ids = {264, 't', 257, 265};

    EXPECT_EQ(small().decode(ids, SkipSpecial::yes), "the");
    EXPECT_EQ(small().decode(ids, SkipSpecial::no), "<bos>the<eos>");
}

TEST(ByteLevelBpe, RefusesTextThatIsNotUtf8NamingTheByte) {
    EXPECT_THAT([] { encode(small(), "ab\xFF"); },
                ThrowsMessage<UserError>(HasSubstr("byte 0xff at offset 2")));
    EXPECT_THAT([] { encode(small(), "caf\xC3"); }, ThrowsMessage<UserError>(HasSubstr("offset 3")));
    EXPECT_THAT([] { encode(small(), "\xED\xA0\x80"); }, ThrowsMessage<UserError>(HasSubstr("offset 0")));
}

TEST(ByteLevelBpe, IgnoringMergesKeepsAWholeWordThatIsAToken) {
    EXPECT_EQ(encode(small(), "then"), (Ids{'t', 257, 'n'}));
    EXPECT_EQ(encode(with("/model/ignore_merges", true), "then"), (Ids{263}));
}

TEST(ByteLevelBpe, DropsAByteWithoutATokenUnlessThereIsAnUnknownToken) {
    json document = small_tokenizer();
    document["model"]["vocab"].erase("z");
    EXPECT_EQ(encode(Tokenizer::from_json(document.dump()), "azzb"), bytes("ab"));

    document["model"]["unk_token"] = "<bos>";
    EXPECT_EQ(encode(Tokenizer::from_json(document.dump()), "azzb"), (Ids{'a', 264, 264, 'b'}));

    document["model"]["fuse_unk"] = true;
    EXPECT_EQ(encode(Tokenizer::from_json(document.dump()), "azzb"), (Ids{'a', 264, 'b'}));
}

TEST(ByteLevelBpe, FallsBackToByteTokensOfTheCharacterThatStandsForAByte) {
    json document = small_tokenizer();
    document["model"]["vocab"].erase("z");
    document["model"]["vocab"]["<0x7A>"] = 300;
    document["model"]["byte_fallback"] = true;

    EXPECT_EQ(encode(Tokenizer::from_json(document.dump()), "az"), (Ids{'a', 300}));
}

TEST(ByteLevelBpe, KnowsItsTokensAndTheSizeOfItsVocabulary) {
    const Tokenizer tokenizer = small();

    EXPECT_EQ(tokenizer.vocab_size(), 266);
    EXPECT_EQ(tokenizer.token(258), "Ġthe");
    EXPECT_EQ(tokenizer.id("Ġthe"), 258);
    EXPECT_EQ(tokenizer.id("<eos>"), 265);
    EXPECT_EQ(tokenizer.id("nowhere"), std::nullopt);
    EXPECT_EQ(tokenizer.token(266), std::nullopt);
}

TEST(ByteLevelBpe, MakesOfTextBytesAndWhatMergesMakeOfThem) {
    Ids expected(263);
    std::iota(expected.begin(), expected.end(), 0);

    EXPECT_EQ(small().text_ids(), expected);
}

TEST(ByteLevelBpe, TakesTimeInProportionToTheLengthOfAWord) {
    for (const char character : {'l', ' ', '!', '1', '\n'}) {
        const std::string text(1 << 20, character);

        const Ids ids = encode(small(), text);  // quadratic work would pass any time limit

        EXPECT_EQ(small().decode(ids, SkipSpecial::no), text);
    }
}

}  // namespace
}  // namespace espalier::test
