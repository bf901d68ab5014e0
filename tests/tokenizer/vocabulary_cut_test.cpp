#include "src/tokenizer/vocabulary_cut.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "src/core/error.hpp"
#include "src/tokenizer/renumbered_file.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::tokenizer {
namespace {

using nlohmann::json;
using test::small_tokenizer;

/// Ids 0 .. 266 - 1 with these frequencies, 0 elsewhere.
std::vector<double> frequencies(const std::vector<std::pair<int64_t, double>>& some) {
    std::vector<double> out(266, 0.0);
    for (const auto& [id, count] : some) out[static_cast<size_t>(id)] = count;
    return out;
}

/// The bytes, <bos>, <eos>, and these.
std::vector<int64_t> bytes_and(std::vector<int64_t> more) {
    std::vector<int64_t> out(256);
    std::iota(out.begin(), out.end(), int64_t{0});
    out.insert(out.end(), more.begin(), more.end());
    out.insert(out.end(), {264, 265});
    return out;
}

TEST(VocabularyCut, KeepsTheMostFrequentWithWhatTheyAreMergedFrom) {
    const VocabularyCut cut(small_tokenizer().dump());
    // " the" needs " t" and "he"; "ing" needs "in".
    const auto counts = frequencies({{258, 9}, {260, 5}, {261, 4}, {256, 1}});

    EXPECT_EQ(cut.most_frequent(counts, 261, {}), bytes_and({256, 257, 258}));
    EXPECT_EQ(cut.most_frequent(counts, 260, {}), bytes_and({259, 260}));  // no room for three
    EXPECT_EQ(cut.most_frequent(counts, 259, {}), bytes_and({261}));
    EXPECT_EQ(cut.most_frequent(counts, 258, {}), bytes_and({}));
}

TEST(VocabularyCut, TakesTokensThatNoMergeLeadsToLast) {
    const VocabularyCut cut(small_tokenizer().dump());

    const auto kept = cut.most_frequent(frequencies({{263, 100}}), 265, {});

    EXPECT_EQ(kept, bytes_and({256, 257, 258, 259, 260, 261, 262}));
}

TEST(VocabularyCut, TakesAnIdThatNoTableHasRoomFor) {
    auto tokenizer = small_tokenizer();
    tokenizer["added_tokens"].push_back(tokenizer["added_tokens"].at(0));
    tokenizer["added_tokens"].back()["content"] = "<|far|>";
    tokenizer["added_tokens"].back()["id"] = 2147483000;

    const VocabularyCut cut(tokenizer.dump());

    EXPECT_EQ(cut.required().back(), 2147483000);
}

TEST(VocabularyCut, RefusesAVocabularyWithoutRoomForBytesAndSpecials) {
    const VocabularyCut cut(small_tokenizer().dump());

    EXPECT_THROW(cut.most_frequent(frequencies({}), 257, {}), UserError);
    EXPECT_THROW(cut.check({0, 1, 2}, "ids"), UserError);         // bytes are missing
    EXPECT_THROW(cut.check(bytes_and({258}), "ids"), UserError);  // " t" and "he" are
    EXPECT_NO_THROW(cut.check(bytes_and({256, 257, 258}), "ids"));
}

TEST(VocabularyCut, ItsTokenizerGivesTheNewIdsAndTheSameText) {
    json document = small_tokenizer();
    document["post_processor"] = test::beginning_with(264, "<bos>");
    const auto kept = bytes_and({259, 260});

    const auto small = Tokenizer::from_json(renumbered_file("tokenizer.json", document.dump(), kept));

    // " the" falls apart into bytes, "ing" is one token: now 257.
    const std::string text = " theing";
    test::Ids expected{258};
    for (const int32_t id : test::bytes(" the")) expected.push_back(id);
    expected.push_back(257);
    EXPECT_EQ(small.encode(text, Special::add), expected);
    EXPECT_EQ(small.decode(small.encode(text, Special::none), SkipSpecial::no), text);
    EXPECT_EQ(small.vocab_size(), 260);
    EXPECT_EQ(small.id("<eos>"), 259);
}

/// <unk>, <s>, </s>, tokens of bytes and the space, and these.
std::vector<int64_t> bytes_space_and(std::vector<int64_t> more) {
    std::vector<int64_t> out(260);
    std::iota(out.begin(), out.end(), int64_t{0});
    out.insert(out.end(), more.begin(), more.end());
    return out;
}

TEST(VocabularyCut, OfCharactersKeepsThoseThatATokenIsMergedFrom) {
    const VocabularyCut cut(test::small_character_tokenizer().dump());
    std::vector<double> counts(270, 0.0);
    counts[268] = 9;  // "in", of "i" and "n"
    counts[267] = 5;  // "_the"
    counts[260] = 1;  // "t"

    EXPECT_EQ(cut.most_frequent(counts, 260, {}), bytes_space_and({}));
    EXPECT_EQ(cut.most_frequent(counts, 262, {}), bytes_space_and({260, 261}));  // no room for "in"
    EXPECT_EQ(cut.most_frequent(counts, 264, {}), bytes_space_and({260, 263, 264, 268}));
    EXPECT_THROW(cut.check(bytes_space_and({264, 268}), "ids"), UserError);  // without "i"
    EXPECT_THROW(cut.most_frequent(counts, 259, {}), UserError);
}

TEST(VocabularyCut, OfCharactersWithoutBytesKeepsAllOfThem) {
    json document = test::small_character_tokenizer();
    document["model"]["byte_fallback"] = false;
    const VocabularyCut cut(document.dump());

    EXPECT_EQ(cut.required(), (std::vector<int64_t>{0, 1, 2, 259, 260, 261, 262, 263, 264}));
}

TEST(VocabularyCut, OfCharactersItsTokenizerGivesTheSameText) {
    const std::string text = "the thin  in\u00e9";
    const auto kept = bytes_space_and({263, 264, 268});

    const auto small = Tokenizer::from_json(
        renumbered_file("tokenizer.json", test::small_character_tokenizer().dump(), kept));

    const auto ids = small.encode(text, Special::none);
    EXPECT_EQ(small.decode(ids, SkipSpecial::no), text);
    EXPECT_EQ(small.vocab_size(), 263);
    EXPECT_EQ(small.encode("in", Special::add), (test::Ids{1, 259, 262}));
}

TEST(VocabularyCut, RenumbersTheOtherFilesToo) {
    const std::vector<int64_t> kept{1, 5, 7};

    EXPECT_EQ(
        json::parse(renumbered_file("generation_config.json",
                                    R"({"eos_token_id": [5, 6], "bos_token_id": 1, "top_k": 5})", kept)),
        json::parse(R"({"eos_token_id": [1], "bos_token_id": 0, "top_k": 5})"));
    EXPECT_EQ(
        json::parse(renumbered_file(
            "generation_config.json",
            R"({"bad_words_ids": [[5, 7], [6, 7], [1]], "suppress_tokens": [6, 7], "forced_decoder_ids": [[1, 7]]})",
            kept)),
        json::parse(R"({"bad_words_ids": [[1, 2], [0]], "suppress_tokens": [2]})"));
    for (const char* none : {R"({"bad_words_ids": null})", R"({"bad_words_ids": [[6, 7]]})"})
        EXPECT_EQ(json::parse(renumbered_file("generation_config.json", none, kept)),
                  json::parse(R"({"bad_words_ids": null})"))
            << none;
    EXPECT_EQ(json::parse(renumbered_file("tokenizer_config.json",
                                          R"({"added_tokens_decoder": {"7": {"content": "x"}}})", kept)),
              json::parse(R"({"added_tokens_decoder": {"2": {"content": "x"}}})"));
    EXPECT_EQ(renumbered_file("special_tokens_map.json", "{}", kept), "{}");
}

}  // namespace
}  // namespace espalier::tokenizer
