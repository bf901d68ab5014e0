// A tokenizer.json of the SentencePiece kind: characters, bytes for the rest, spaces as U+2581.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using tokenizer::SkipSpecial;
using tokenizer::Special;
using tokenizer::Tokenizer;

const std::string mark = "\u2581";

Tokenizer small() {
    return Tokenizer::from_json(small_character_tokenizer().dump());
}

Tokenizer characters_with(const std::string& pointer, json value,
                          json document = small_character_tokenizer()) {
    document[json::json_pointer(pointer)] = std::move(value);
    return Tokenizer::from_json(document.dump());
}

json metaspace(const std::string& scheme, bool split = true) {
    return {{"type", "Metaspace"}, {"replacement", mark}, {"prepend_scheme", scheme}, {"split", split}};
}

/// Without a normaliser, spaces put by the pre-tokenizer.
json marked_by(const json& pre_tokenizer) {
    json document = small_character_tokenizer();
    document["normalizer"] = nullptr;
    document["pre_tokenizer"] = pre_tokenizer;
    return document;
}

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
    return tokenizer.encode(text, Special::none);
}

Ids encode(const json& document, std::string_view text) {
    return encode(Tokenizer::from_json(document.dump()), text);
}

int32_t byte(int value) {
    return 3 + value;
}

TEST(CharacterBpe, MergesCharactersBehindASpaceThatStandsBeforeTheText) {
    EXPECT_EQ(encode(small(), "the"), (Ids{267}));
    EXPECT_EQ(encode(small(), "the thin"), (Ids{267, 265, 261, 268}));
    EXPECT_EQ(encode(small(), " the"), (Ids{259, 267}));
    EXPECT_EQ(encode(small(), ""), Ids{});
    EXPECT_EQ(small().encode("the", Special::add), (Ids{1, 267}));
}

TEST(CharacterBpe, JoinsSpacesAndLetsTheLastBeginAWord) {
    EXPECT_EQ(encode(small(), "   "), (Ids{269, 269}));
    EXPECT_EQ(encode(small(), "  the"), (Ids{269, 267}));  // "_t" is merged before "__"
    EXPECT_EQ(encode(small(), mark + "the" + mark), (Ids{259, 267, 259}));
}

TEST(CharacterBpe, FallsBackOnBytesAndDecodesThem) {
    const Ids ids{259, byte(0xC3), byte(0xA9), 262};

    EXPECT_EQ(encode(small(), "\u00e9e"), ids);
    EXPECT_EQ(small().decode(ids, SkipSpecial::yes), "\u00e9e");
    EXPECT_EQ(small().decode(Ids{byte(0xC3), 262}, SkipSpecial::yes), "\uFFFDe");
    EXPECT_EQ(small().decode(Ids{byte(0xF0), byte(0x9F), 262}, SkipSpecial::yes), "\uFFFD\uFFFDe");
}

TEST(CharacterBpe, DecodesWithoutTheSpaceBeforeTheText) {
    for (const std::string text : {"the thin", "  the  ", "", " ", "\u6771\u4eac \U0001f600\n\tthe"})
        EXPECT_EQ(small().decode(encode(small(), text), SkipSpecial::yes), text);
    EXPECT_EQ(small().decode(Ids{1, 267, 2}, SkipSpecial::no), "<s> the</s>");
    EXPECT_EQ(small().decode(Ids{1, 267, 2, 5000}, SkipSpecial::yes), "the");
}

TEST(CharacterBpe, FusesUnknownCharactersWhereItIsAsked) {
    const auto unknown = [](bool fuse, json document = small_character_tokenizer()) {
        document["model"]["byte_fallback"] = false;
        return characters_with("/model/fuse_unk", fuse, document);
    };

    EXPECT_EQ(encode(unknown(true), "xyzexy"), (Ids{259, 0, 262, 0}));
    EXPECT_EQ(encode(unknown(false), "xyze"), (Ids{259, 0, 0, 0, 262}));
}

TEST(CharacterBpe, DropsUnknownCharactersWithoutAnUnknownToken) {
    json document = small_character_tokenizer();
    document["model"]["byte_fallback"] = false;

    EXPECT_EQ(encode(characters_with("/model/unk_token", nullptr, document), "xtyhe"), (Ids{267}));
}

TEST(CharacterBpe, ALackingByteMakesTheWholeCharacterUnknown) {
    json document = small_character_tokenizer();
    document["model"]["vocab"].erase("<0xA9>");

    // As `tokenizers`: an unknown character waits for one that is known, and bytes go before it.
    EXPECT_EQ(encode(document, "\u00e9\u00ebe"), (Ids{259, byte(0xC3), byte(0xAB), 0, 262}));
}

TEST(CharacterBpe, MetaspacePutsASpaceBeforeWhatItsSchemeSays) {
    const auto ids = [](const char* scheme, std::string_view text) {
        return encode(marked_by(metaspace(scheme)), text);
    };

    EXPECT_EQ(ids("first", "t</s>t"), (Ids{265, 2, 260}));
    EXPECT_EQ(ids("always", "t</s>t"), (Ids{265, 2, 265}));
    EXPECT_EQ(ids("never", "t</s>t"), (Ids{260, 2, 260}));
    EXPECT_EQ(ids("first", "</s>t"), (Ids{2, 260}));
    for (const char* scheme : {"first", "always", "never"}) {
        EXPECT_EQ(ids(scheme, " t"), (Ids{265})) << scheme;
        EXPECT_EQ(ids(scheme, mark + "t"), (Ids{265})) << scheme;
    }
}

TEST(CharacterBpe, MetaspaceMaySplitSpacesThatMergesWouldJoin) {
    EXPECT_EQ(encode(marked_by(metaspace("first", true)), "  t"), (Ids{259, 265}));
    EXPECT_EQ(encode(marked_by(metaspace("first", true)), "   "), (Ids{259, 259, 259}));
    EXPECT_EQ(encode(marked_by(metaspace("first", false)), "   "), (Ids{269, 259}));
}

TEST(CharacterBpe, ReadsTheOlderMetaspace) {
    json older = {{"type", "Metaspace"}, {"replacement", mark}, {"str_rep", mark}};
    older["add_prefix_space"] = true;
    EXPECT_EQ(encode(marked_by(older), "t</s>t"), (Ids{265, 2, 265}));
    older["add_prefix_space"] = false;
    EXPECT_EQ(encode(marked_by(older), "t</s>t"), (Ids{260, 2, 260}));
    older["prepend_scheme"] = "first";
    EXPECT_THAT([&] { encode(marked_by(older), ""); },
                ThrowsMessage<UserError>(HasSubstr("pre_tokenizer.prepend_scheme")));
}

TEST(CharacterBpe, MetaspaceDecodesTheFirstTokenWithoutSpaces) {
    const auto decoded = [](const char* scheme) {
        return characters_with("/decoder", metaspace(scheme)).decode(Ids{269, 267, 267}, SkipSpecial::yes);
    };

    EXPECT_EQ(decoded("always"), " the the");
    EXPECT_EQ(decoded("never"), "   the the");
}

TEST(CharacterBpe, MergesMayCrossWords) {
    json document = small_character_tokenizer();
    document["model"]["vocab"]["e" + mark] = 270;
    document["model"]["merges"].insert(document["model"]["merges"].begin(), "e " + mark);

    EXPECT_EQ(encode(document, "the the"), (Ids{265, 261, 270, 260, 266}));
}

TEST(CharacterBpe, AWholePieceMayStayAToken) {
    json document = marked_by(metaspace("first"));
    document["model"]["vocab"][mark + "thin"] = 270;

    EXPECT_EQ(encode(document, "thin thin"), (Ids{265, 261, 268, 265, 261, 268}));
    EXPECT_EQ(encode(characters_with("/model/ignore_merges", true, document), "thin thin"), (Ids{270, 270}));
}

TEST(CharacterBpe, AddedTokensOfNormalisedTextAreFoundAndDecodedWithTheirSpace) {
    json token = added(270, "<x>");
    token["normalized"] = true;
    token["special"] = false;
    const auto tokenizer = characters_with("/added_tokens/3", token);

    EXPECT_EQ(encode(tokenizer, "<x>t <x>"), (Ids{270, 260, 270}));
    EXPECT_EQ(tokenizer.decode(Ids{270, 260, 270}, SkipSpecial::yes), "<x>t <x>");
}

TEST(CharacterBpe, ALongTextWithoutAWordIsNoQuadraticWork) {
    std::string text;
    for (int i = 0; i < 300000; ++i) text += "the";

    EXPECT_EQ(encode(small(), text).size(), 599999u);  // "_the", then "t", "he" over and over
    EXPECT_EQ(encode(small(), std::string(900000, ' ')).size(), 450001u);
}

TEST(CharacterBpe, IsWrittenSoThatItReadsTheSame) {
    const std::string text = " the  thin\u00e9 <s>the\n";
    for (const json& document : {small_character_tokenizer(), marked_by(metaspace("first", false)),
                                 marked_by(in_sequence({split("t"), metaspace("never")}))}) {
        const auto tokenizer = Tokenizer::from_json(document.dump());

        const auto again = Tokenizer::from_json(tokenizer.to_json());

        EXPECT_EQ(again.to_json(), tokenizer.to_json());
        EXPECT_EQ(again.encode(text, Special::add), tokenizer.encode(text, Special::add));
        EXPECT_EQ(json::parse(tokenizer.to_json()).at("decoder"), document.at("decoder"));
    }
}

TEST(CharacterBpe, RefusesWhatItDoesNotKnowByItsName) {
    const auto refuses = [](const char* pointer, const json& value, auto message) {
        EXPECT_THAT([&] { characters_with(pointer, value); }, ThrowsMessage<UserError>(message))
            << pointer << ' ' << value;
    };
    json regex = replace("a", "b");
    regex["pattern"] = {{"Regex", "a+"}};

    refuses("/model/type", "Unigram", AllOf(HasSubstr("'Unigram'"), HasSubstr(".model")));
    refuses("/normalizer/normalizers/0", {{"type", "Precompiled"}},
            AllOf(HasSubstr("normalizers[0]"), HasSubstr("'Precompiled'"), HasSubstr("Prepend")));
    refuses("/normalizer", regex, HasSubstr("normalizer.pattern"));
    refuses("/normalizer", replace("", "b"), HasSubstr("normalizer.pattern"));
    refuses("/pre_tokenizer", in_sequence({metaspace("first"), split("a")}), HasSubstr("pretokenizers[0]"));
    refuses("/pre_tokenizer", metaspace("second"), HasSubstr("prepend_scheme"));
    refuses("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}, HasSubstr("replacement"));
    refuses("/decoder", nullptr, HasSubstr("decoder"));
    refuses("/decoder", {{"type", "ByteLevel"}}, HasSubstr("decoder"));
    refuses("/decoder/decoders/0", {{"type", "CTC"}}, AllOf(HasSubstr("decoders[0]"), HasSubstr("Fuse")));
    refuses("/decoder/decoders/3/start", -1, HasSubstr("decoders[3]"));
}

}  // namespace
}  // namespace espalier::test
