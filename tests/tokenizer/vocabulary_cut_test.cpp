#include "src/tokenizer/vocabulary_cut.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "src/core/error.hpp"
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

TEST(VocabularyCut, RefusesAVocabularyWithoutRoomForBytesAndSpecials) {
    const VocabularyCut cut(small_tokenizer().dump());

    EXPECT_THROW(cut.most_frequent(frequencies({}), 257, {}), UserError);
    EXPECT_THROW(cut.check({0, 1, 2}, "ids"), UserError);         // bytes are missing
    EXPECT_THROW(cut.check(bytes_and({258}), "ids"), UserError);  // " t" and "he" are
    EXPECT_NO_THROW(cut.check(bytes_and({256, 257, 258}), "ids"));
}

TEST(VocabularyCut, ItsTokenizerGivesTheNewIdsAndTheSameText) {
    json document = small_tokenizer();
    document["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<bos>"}, {"type_id", 0}}}},
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"pair", json::array()},
        {"special_tokens", {{"<bos>", {{"id", "<bos>"}, {"ids", {264}}, {"tokens", {"<bos>"}}}}}}};
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

TEST(VocabularyCut, RenumbersTheOtherFilesToo) {
    const std::vector<int64_t> kept{1, 5, 7};

    EXPECT_EQ(
        json::parse(renumbered_file("generation_config.json",
                                    R"({"eos_token_id": [5, 6], "bos_token_id": 1, "top_k": 5})", kept)),
        json::parse(R"({"eos_token_id": [1], "bos_token_id": 0, "top_k": 5})"));
    EXPECT_EQ(json::parse(renumbered_file("tokenizer_config.json",
                                          R"({"added_tokens_decoder": {"7": {"content": "x"}}})", kept)),
              json::parse(R"({"added_tokens_decoder": {"2": {"content": "x"}}})"));
    EXPECT_EQ(renumbered_file("special_tokens_map.json", "{}", kept), "{}");
}

}  // namespace
}  // namespace espalier::tokenizer
