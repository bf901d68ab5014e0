#include "tests/tokenizer/seeds.hpp"

#include "src/tokenizer/byte_alphabet.hpp"
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
    full["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<bos>"}, {"type_id", 0}}}},
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"special_tokens", {{"<bos>", {{"id", "<bos>"}, {"ids", {264}}, {"tokens", {"<bos>"}}}}}}};
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized"})
        full["added_tokens"][0][flag] = true;
    for (const char* flag : {"ignore_merges", "byte_fallback", "fuse_unk"}) full["model"][flag] = true;
    full["model"]["unk_token"] = "then";
    return {plain.dump(), full.dump()};
}

void use_tokenizer(std::string_view tokenizer_json) {
    const auto tokenizer = tokenizer::Tokenizer::from_json(tokenizer_json);
    const Ids ids =
        tokenizer.encode("then the 12 things <bos> I'll\r\n  \u00e9e\u0301 <eos>", tokenizer::Special::add);
    tokenizer.decode(ids, tokenizer::SkipSpecial::no);
    tokenizer::Tokenizer::from_json(tokenizer.to_json(), tokenizer.config_json());
}

}  // namespace espalier::test
