#include "tests/tokenizer/seeds.hpp"

#include "src/tokenizer/byte_alphabet.hpp"
#include "src/tokenizer/decoder.hpp"
#include "tests/tokenizer/small_vocabulary.hpp"

namespace espalier::test {

using nlohmann::json;

std::vector<std::string> tokenizer_seeds() {
    json plain = small_tokenizer();
    for (int byte = 128; byte < 256; ++byte)  // short files find more
        plain["model"]["vocab"].erase(tokenizer::spelled(static_cast<unsigned char>(byte)));

    json full = plain;
    full["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "NFKD"}}}}};
    full["pre_tokenizer"] =
        in_sequence({split(R"((?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s*[\r\n]+|\s+(?!\S)|\s+)"),
                     {{"type", "Digits"}, {"individual_digits", true}},
                     split("e", "MergedWithPrevious", true),
                     byte_level(true, false)});
    full["post_processor"] = beginning_with(264, "<bos>");
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"})
        full["added_tokens"][0][flag] = true;
    for (const char* flag : {"ignore_merges", "byte_fallback", "fuse_unk"}) full["model"][flag] = true;
    full["model"]["unk_token"] = "then";

    json characters = small_character_tokenizer();
    for (int byte = 0; byte < 256; ++byte) {
        if (byte != 0xC3 && byte != 0xA9)
            characters["model"]["vocab"].erase(tokenizer::byte_token(static_cast<unsigned char>(byte)));
    }
    json marked = characters;
    marked["normalizer"] = {{"type", "NFC"}};
    marked["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}};
    marked["decoder"] = marked["pre_tokenizer"];
    marked["model"]["ignore_merges"] = true;
    marked["model"]["fuse_unk"] = false;
    return {plain.dump(), full.dump(), characters.dump(), marked.dump()};
}

void use_tokenizer(std::string_view tokenizer_json) {
    const auto tokenizer = tokenizer::Tokenizer::from_json(tokenizer_json);
    const Ids ids =
        tokenizer.encode("then the 12 things <bos> I'll\r\n  \u00e9e\u0301 <eos>", tokenizer::Special::add);
    tokenizer.decode(ids, tokenizer::SkipSpecial::no);
    tokenizer::Tokenizer::from_json(tokenizer.to_json(), tokenizer.config_json());
}

}  // namespace espalier::test
