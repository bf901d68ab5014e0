// The parts around the merges: added tokens, normaliser, splits, post-processor; and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/core/error.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/pre_tokenizer.hpp"
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

Ids encode(const Tokenizer& tokenizer, std::string_view text) {
    return tokenizer.encode(text, Special::none);
}

Tokenizer with_added(const char* flag, const std::string& content = "<x>") {
    json token = added(300, content);
    if (flag != nullptr) token[flag] = true;
    return with("/added_tokens", json::array({token}));
}

using Words = std::vector<std::string>;

Words pieces(const json& pre_tokenizer, std::string_view text) {
    json document = small_tokenizer();
    document["pre_tokenizer"] = pre_tokenizer;
    const tokenizer::PreTokenizer splitter(tokenizer::parse_definition(document.dump()));
    const auto result = splitter.split(text, tokenizer::Place::beginning);
    return {result.views.begin(), result.views.end()};
}

Words split_by(const std::string& regex, const std::string& behavior, std::string_view text,
               bool invert = false) {
    return pieces(in_sequence({split(regex, behavior, invert), byte_level(false, false)}), text);
}

TEST(AddedTokens, AreFoundLeftmostFirstAndTheLongestOfThose) {
    const auto tokenizer =
        with("/added_tokens", json::array({added(300, "<x>"), added(301, "<x><y>"), added(302, "b<")}));

    EXPECT_EQ(encode(tokenizer, "a<x>b<x><y><x"), (Ids{'a', 300, 302, 'x', '>', '<', 'y', '>', '<', 'x'}));
    EXPECT_EQ(encode(tokenizer, "a<x><y>"), (Ids{'a', 301}));
}

TEST(AddedTokens, TakeTheWhiteSpaceTheyStrip) {
    EXPECT_EQ(encode(with_added(nullptr), "a <x> b"), (Ids{'a', ' ', 300, ' ', 'b'}));
    EXPECT_EQ(encode(with_added("lstrip"), "a \n<x> b"), (Ids{'a', 300, ' ', 'b'}));
    EXPECT_EQ(encode(with_added("rstrip"), "a <x>\u3000 b"), (Ids{'a', ' ', 300, 'b'}));
}

TEST(AddedTokens, OfSingleWordsStandAlone) {
    const auto tokenizer = with_added("single_word", "xy");

    EXPECT_EQ(encode(tokenizer, "xy axy xy."), (Ids{300, ' ', 'a', 'x', 'y', ' ', 300, '.'}));
    EXPECT_EQ(encode(tokenizer, "éxy"), (Ids{0xC3, 0xA9, 'x', 'y'}));
}

TEST(AddedTokens, AreLookedForBeforeOrAfterNormalisation) {
    json document = small_tokenizer();
    document["normalizer"] = {{"type", "NFC"}};
    json raw = added(300, "\u00e9\u00e9"), normalized = added(301, "aa\u030a");
    normalized["normalized"] = true;
    document["added_tokens"] = {raw, normalized};
    const auto tokenizer = Tokenizer::from_json(document.dump());

    EXPECT_EQ(encode(tokenizer, "\u00e9\u00e9"), (Ids{300}));
    EXPECT_EQ(encode(tokenizer, "e\u0301\u00e9"), bytes("\u00e9\u00e9"));  // only normalisation makes it
    EXPECT_EQ(encode(tokenizer, "a\u00e5 aa\u030a"), (Ids{301, ' ', 301}));
}

TEST(Normalizer, ComposesCharacters) {
    EXPECT_EQ(encode(with("/normalizer", {{"type", "NFC"}}), "e\u0301"), bytes("\u00e9"));
    EXPECT_EQ(encode(with("/normalizer", {{"type", "NFD"}}), "\u00e9"), bytes("e\u0301"));
    EXPECT_EQ(encode(with("/normalizer", nullptr), "e\u0301"), bytes("e\u0301"));
}

TEST(Splits, DoWithAMatchWhatTheirBehaviourSays) {
    EXPECT_EQ(split_by("1", "Isolated", "a11b"), (Words{"a", "1", "1", "b"}));
    EXPECT_EQ(split_by("1", "Contiguous", "a11b"), (Words{"a", "11", "b"}));
    EXPECT_EQ(split_by("1", "Removed", "a11b"), (Words{"a", "b"}));
    EXPECT_EQ(split_by("1", "MergedWithPrevious", "a11b"), (Words{"a1", "1", "b"}));
    EXPECT_EQ(split_by("1", "MergedWithNext", "a11b"), (Words{"a", "1", "1b"}));
    EXPECT_EQ(split_by("1", "Removed", "a11b", true), (Words{"1", "1"}));
    EXPECT_EQ(split_by("1*", "Isolated", "a11b"), (Words{"a", "11", "b"}));
}

/// Oniguruma's ways, which other libraries read otherwise.
TEST(Splits, ReadQuantifiersAndOptionsAsRubyDoes) {
    EXPECT_EQ(split_by("1{1,3}+2", "Isolated", "1111112"), (Words{"1111112"}));  // (1{1,3})+, gives back
    EXPECT_EQ(split_by("(?:a|b){2}+", "Isolated", "ababa"), (Words{"abab", "a"}));
    EXPECT_EQ(split_by("\\p{L}{2,}+", "Isolated", "1abc1"), (Words{"1", "abc", "1"}));
    EXPECT_EQ(split_by("\u00e9{2}+", "Removed", "a\u00e9\u00e9\u00e9\u00e9"), (Words{"a"}));
    EXPECT_EQ(split_by("x{2}?", "Removed", "xxxy"), (Words{"x", "y"}));  // (x{2})?
    EXPECT_EQ(split_by("ba{,2}", "Isolated", "baaa"), (Words{"baa", "a"}));
    EXPECT_EQ(split_by("b{,}", "Isolated", "ab{,}"), (Words{"a", "b{,}"}));  // no quantifier
    EXPECT_EQ(split_by("(?m)a.b", "Isolated", "a\nb"), (Words{"a\nb"}));
    EXPECT_EQ(split_by("[{,2}]+", "Isolated", "a{2b"), (Words{"a", "{2", "b"}));
    EXPECT_THROW(split_by("(?s).", "Isolated", "a"), UserError);
}

TEST(Splits, FollowOneAnother) {
    const auto two = in_sequence({split("1+"), split("b"), byte_level(false, false)});

    EXPECT_EQ(pieces(two, "ab11ba"), (Words{"a", "b", "11", "b", "a"}));
}

TEST(Splits, TakeALiteralStringAsItIs) {
    json dot = split("");
    dot["pattern"] = {{"String", "."}};

    EXPECT_EQ(pieces(in_sequence({dot, byte_level(false, false)}), "a.b"), (Words{"a", ".", "b"}));
}

TEST(Splits, OfDigitsTakeThemOneByOneOrTogether) {
    const json one = {{"type", "Digits"}, {"individual_digits", true}};
    const json together = {{"type", "Digits"}, {"individual_digits", false}};

    EXPECT_EQ(pieces(in_sequence({one, byte_level(false, true)}), "a 12b"), (Words{"a", " ", "1", "2", "b"}));
    EXPECT_EQ(pieces(in_sequence({together, byte_level(false, true)}), "a 12b"),
              (Words{"a", " ", "12", "b"}));
    EXPECT_EQ(pieces(byte_level(false, true), "a 12b"), (Words{"a", " 12", "b"}));
}

TEST(Splits, OfByteLevelMayPutASpaceBefore) {
    EXPECT_EQ(pieces(byte_level(true, true), "a b"), (Words{" a", " b"}));
    EXPECT_EQ(pieces(byte_level(true, true), " a"), (Words{" a"}));
}

TEST(Splits, KnowTheWhiteSpaceOfUnicodeAndNoOther) {
    const auto by_space =
        with("/pre_tokenizer", in_sequence({split(R"(\s)", "Removed"), byte_level(false, false)}));
    const auto by_others =
        with("/pre_tokenizer", in_sequence({split(R"([^\S\n])", "Removed"), byte_level(false, false)}));

    EXPECT_EQ(encode(by_space, "\u0085\u3000\u00a0 \n\t"), Ids());
    EXPECT_EQ(encode(by_space, "\u180e"), bytes("\u180e"));  // no longer a space since Unicode 6.3
    EXPECT_EQ(encode(by_others, " \n\u2003"), bytes("\n"));
}

TEST(PostProcessor, PutsTokensAroundTheTextOnRequest) {
    const json special = {{"<bos>", {{"id", "<bos>"}, {"ids", {264}}, {"tokens", {"<bos>"}}}},
                          {"<eos>", {{"id", "<eos>"}, {"ids", {265}}, {"tokens", {"<eos>"}}}}};
    const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
    const auto token = [](const char* name) {
        return json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
    };
    const json bos = {
        {"type", "TemplateProcessing"}, {"single", {token("<bos>"), text}}, {"special_tokens", special}};
    const json eos = {
        {"type", "TemplateProcessing"}, {"single", {text, token("<eos>")}}, {"special_tokens", special}};
    const json end = {
        {"type", "TemplateProcessing"}, {"single", {text, token("<bos>")}}, {"special_tokens", special}};
    const auto tokenizer = with(
        "/post_processor", {{"type", "Sequence"}, {"processors", {{{"type", "ByteLevel"}}, bos, eos, end}}});

    EXPECT_EQ(tokenizer.encode("a", Special::add), (Ids{264, 'a', 265, 264}));
    EXPECT_EQ(tokenizer.encode("a", Special::none), (Ids{'a'}));
}

TEST(TokenizerJson, TakesMergesInBothSpellings) {
    EXPECT_EQ(encode(with("/model/merges", json::array({"h e", "l l"})), "hell"), (Ids{257, 261}));
    EXPECT_EQ(encode(with("/model/merges", json::array({json::array({"h", "e"}), json::array({"l", "l"})})),
                     "hell"),
              (Ids{257, 261}));
}

TEST(TokenizerJson, NamesAComponentThatIsNotSupportedAndThoseThatAre) {
    const auto refuses = [](const char* pointer, const json& value, auto message) {
        EXPECT_THAT([&] { with(pointer, value); }, ThrowsMessage<UserError>(message))
            << pointer << ' ' << value;
    };
    refuses("/pre_tokenizer", {{"type", "Whitespace"}},
            AllOf(HasSubstr("'Whitespace'"), HasSubstr("Metaspace"), HasSubstr("ByteLevel")));
    refuses("/pre_tokenizer", nullptr, HasSubstr("ByteLevel"));
    refuses("/pre_tokenizer", in_sequence({byte_level(false, true), split("a")}),
            HasSubstr("pretokenizers[0]"));
    refuses("/pre_tokenizer", in_sequence({split("a")}), HasSubstr("no ByteLevel"));
    refuses("/pre_tokenizer", in_sequence({split("(a"), byte_level(false, true)}), HasSubstr("'(a'"));
    refuses("/pre_tokenizer", in_sequence({split(R"(\w)"), byte_level(false, true)}), HasSubstr(R"(\w)"));
    refuses("/pre_tokenizer", in_sequence({split("[a[b]]"), byte_level(false, true)}),
            HasSubstr("inside [...]"));
    refuses("/pre_tokenizer", in_sequence({split("a", "Shaken"), byte_level(false, true)}),
            HasSubstr("Isolated"));
    refuses("/normalizer", {{"type", "Lowercase"}}, AllOf(HasSubstr("Lowercase"), HasSubstr("NFC")));
    refuses("/model/type", "WordPiece", AllOf(HasSubstr("WordPiece"), HasSubstr("BPE")));
    refuses("/model/continuing_subword_prefix", "##", HasSubstr("continuing_subword_prefix"));
    refuses("/model/dropout", 0.1, HasSubstr("dropout"));
    refuses("/model/unk_token", "<none>", HasSubstr("<none>"));
    refuses("/model/merges", json::array({"x q"}), HasSubstr("'xq'"));
    refuses("/model/merges", json::array({"a b c"}), HasSubstr("merges[0]"));
    refuses("/model/vocab/a", -1, HasSubstr("model.vocab.a"));
    refuses("/post_processor", {{"type", "BertProcessing"}}, HasSubstr("BertProcessing"));
    refuses("/decoder", {{"type", "WordPiece"}}, HasSubstr("decoder"));
    refuses("/added_tokens", json::array({added(7, "<bos>")}), HasSubstr("<bos>"));
    EXPECT_THAT([] { Tokenizer::from_json("{"); }, ThrowsMessage<UserError>(HasSubstr("not valid JSON")));
    EXPECT_THAT([] { Tokenizer::from_json("[]"); },
                ThrowsMessage<UserError>(HasSubstr("expected a JSON object")));
}

TEST(TokenizerJson, LearnsItsSpecialTokensFromTheConfig) {
    const json config = {{"bos_token", "<bos>"},
                         {"eos_token", {{"content", "<eos>"}}},
                         {"pad_token", nullptr},
                         {"unk_token", "?!"}};

    const auto tokenizer = Tokenizer::from_json(small_tokenizer().dump(), config.dump());

    EXPECT_EQ(tokenizer.bos(), 264);
    EXPECT_EQ(tokenizer.eos(), 265);
    EXPECT_EQ(tokenizer.pad(), std::nullopt);
    EXPECT_EQ(tokenizer.unk(), std::nullopt);
}

TEST(TokenizerJson, IsWrittenSoThatItReadsTheSame) {
    json document = small_tokenizer();
    document["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "NFKC"}}}}};
    document["pre_tokenizer"] = in_sequence({split("1", "MergedWithNext", true), byte_level(true, true)});
    document["model"]["ignore_merges"] = true;
    document["added_tokens"][0]["lstrip"] = true;
    const auto tokenizer = Tokenizer::from_json(document.dump());

    const auto again = Tokenizer::from_json(tokenizer.to_json());

    EXPECT_EQ(again.to_json(), tokenizer.to_json());
    for (const char* text : {"then the 12 things", "1then", "a <bos> e\u0301 \ufb01", "212 1"})
        EXPECT_EQ(encode(again, text), encode(tokenizer, text));
    EXPECT_EQ(json::parse(again.to_json())["model"]["ignore_merges"], true);
    EXPECT_NE(encode(again, "a 12"), encode(Tokenizer::from_json(small_tokenizer().dump()), "a 12"));
}

}  // namespace
}  // namespace espalier::test
