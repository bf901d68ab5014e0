// Tokenizers of GGUF files; the comparison with transformers is in tests/interop/tokenizer.
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
using tokenizer::GgufVocabulary;
using tokenizer::SkipSpecial;
using tokenizer::Special;
using tokenizer::Tokenizer;

Ids encode(const GgufVocabulary& vocabulary, std::string_view text, Special special = Special::add) {
    return Tokenizer::from_gguf(vocabulary).encode(text, special);
}

TEST(GgufVocabulary, MergesAndFindsItsControlTokens) {
    EXPECT_EQ(encode(small_gguf(), "the<eos> thing"), (Ids{'t', 257, 265, 256, 'h', 260}));
}

TEST(GgufVocabulary, AddsTokensAroundTheTextWhereTheFileSaysSo) {
    GgufVocabulary vocabulary = small_gguf();
    vocabulary.add_bos = vocabulary.add_eos = true;

    EXPECT_EQ(encode(vocabulary, "a"), (Ids{264, 'a', 265}));
    EXPECT_EQ(encode(vocabulary, "a", Special::none), (Ids{'a'}));
    EXPECT_EQ(encode(small_gguf(), "a"), (Ids{'a'}));
}

TEST(GgufVocabulary, SplitsAsItsPreTokenizerSays) {
    GgufVocabulary vocabulary = small_gguf();

    vocabulary.pre = "llama-bpe";  // three digits at most
    EXPECT_EQ(encode(vocabulary, "1212"), (Ids{262, '1', '2'}));
    vocabulary.pre = "qwen2";  // one
    EXPECT_EQ(encode(vocabulary, "1212"), bytes("1212"));
    vocabulary.pre = "gpt-2";
    EXPECT_EQ(encode(vocabulary, "1212"), (Ids{262, 262}));
}

TEST(GgufVocabulary, KeepsUserDefinedTokensWholeAndInDecodedText) {
    GgufVocabulary vocabulary = small_gguf();
    vocabulary.token_types[263] = 4;  // "then"

    const Ids ids = encode(vocabulary, "athen");

    EXPECT_EQ(ids, (Ids{'a', 263}));
    EXPECT_EQ(Tokenizer::from_gguf(vocabulary).decode(ids, SkipSpecial::yes), "athen");
}

TEST(GgufVocabulary, SpellsATokenThatIsNotWrittenInTheByteAlphabet) {
    GgufVocabulary vocabulary = small_gguf();
    vocabulary.tokens.push_back("\u6771 <");
    vocabulary.token_types.push_back(3);

    const Tokenizer tokenizer = Tokenizer::from_gguf(vocabulary);

    EXPECT_EQ(tokenizer.decode(Ids{266}, SkipSpecial::yes), "\u6771 <");
    EXPECT_EQ(tokenizer.encode("\u6771 <", Special::none), bytes("\u6771 <"));
}

TEST(GgufVocabulary, IsWrittenAsATokenizerJsonWithTheSameIds) {
    GgufVocabulary vocabulary = small_gguf();
    vocabulary.pre = "qwen2";
    vocabulary.add_bos = true;
    vocabulary.chat_template = "{{ messages }}";
    vocabulary.context_length = 8192;
    const Tokenizer tokenizer = Tokenizer::from_gguf(vocabulary);

    const Tokenizer again = Tokenizer::from_json(tokenizer.to_json(), tokenizer.config_json());
    const json config = json::parse(tokenizer.config_json());

    EXPECT_EQ(again.encode("<eos>I'LL 12 ling", Special::add),
              tokenizer.encode("<eos>I'LL 12 ling", Special::add));
    EXPECT_EQ(again.bos(), 264);
    EXPECT_EQ(again.eos(), 265);
    EXPECT_EQ(again.vocab_size(), 266);
    EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
    EXPECT_EQ(config["chat_template"], "{{ messages }}");
    EXPECT_EQ(config["model_max_length"], 8192);
    EXPECT_EQ(again.config_json(), tokenizer.config_json());
}

TEST(GgufVocabulary, RefusesByNameWhatItDoesNotKnow) {
    const auto refuses = [](auto change, auto message) {
        GgufVocabulary vocabulary = small_gguf();
        change(vocabulary);
        EXPECT_THAT([&] { Tokenizer::from_gguf(vocabulary); }, ThrowsMessage<UserError>(message));
    };
    refuses([](auto& v) { v.model = "bert"; }, AllOf(HasSubstr("'bert'"), HasSubstr("gpt2")));
    refuses([](auto& v) { v.pre = "poro-chat"; }, AllOf(HasSubstr("'poro-chat'"), HasSubstr("smollm")));
    refuses([](auto& v) { v.eos = 266; }, HasSubstr("eos_token_id is 266"));
    refuses([](auto& v) { v.bos = -1; }, HasSubstr("bos_token_id is -1"));
    refuses([](auto& v) { v.bos.reset(), v.add_bos = true; }, HasSubstr("add_bos_token"));
    refuses([](auto& v) { v.token_types.pop_back(); }, HasSubstr("token types"));
    refuses([](auto& v) { v.tokens[5] = "\xFF"; }, HasSubstr("tokens[5]"));
    refuses([](auto& v) { v.merges[1] = "he"; }, HasSubstr("merges[1]"));
    refuses([](auto& v) { v.merges[1] = "h q"; }, HasSubstr("'hq'"));
}

}  // namespace
}  // namespace espalier::test
