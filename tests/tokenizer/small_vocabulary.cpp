#include "tests/tokenizer/small_vocabulary.hpp"

#include "src/tokenizer/byte_alphabet.hpp"
#include "src/tokenizer/decoder.hpp"

namespace espalier::test {

using nlohmann::json;

namespace {

const std::vector<std::pair<std::string, std::string>> merges = {
    {"Ġ", "t"}, {"h", "e"}, {"Ġt", "he"}, {"i", "n"}, {"in", "g"}, {"l", "l"}, {"1", "2"}};

std::vector<std::string> tokens() {
    std::vector<std::string> list;
    for (int byte = 0; byte < 256; ++byte)
        list.push_back(tokenizer::spelled(static_cast<unsigned char>(byte)));
    for (const auto& [left, right] : merges) list.push_back(left + right);
    list.push_back("then");
    list.push_back("<bos>");
    list.push_back("<eos>");
    return list;
}

}  // namespace

json small_tokenizer() {
    json vocabulary = json::object(), merge_list = json::array();
    const auto list = tokens();
    for (size_t id = 0; id < list.size(); ++id) vocabulary[list[id]] = id;
    for (const auto& [left, right] : merges) merge_list.push_back(left + " " + right);
    return {{"version", "1.0"},
            {"added_tokens", {added(264, "<bos>"), added(265, "<eos>")}},
            {"normalizer", nullptr},
            {"pre_tokenizer", byte_level(false, true)},
            {"post_processor", nullptr},
            {"decoder", {{"type", "ByteLevel"}}},
            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merge_list}}}};
}

json small_character_tokenizer() {
    const std::string mark(tokenizer::word_mark);
    std::vector<std::string> list{"<unk>", "<s>", "</s>"};
    for (int byte = 0; byte < 256; ++byte)
        list.push_back(tokenizer::byte_token(static_cast<unsigned char>(byte)));
    for (const auto& character :
         {mark, std::string("t"), std::string("h"), std::string("e"), std::string("i"), std::string("n")})
        list.push_back(character);
    json merge_list = json::array(), vocabulary = json::object();
    const std::vector<std::pair<std::string, std::string>> joined = {
        {mark, "t"}, {"h", "e"}, {mark + "t", "he"}, {"i", "n"}, {mark, mark}};
    for (const auto& [left, right] : joined) {
        merge_list.push_back(left + " " + right);
        list.push_back(left + right);
    }
    for (size_t id = 0; id < list.size(); ++id) vocabulary[list[id]] = id;
    return {{"version", "1.0"},
            {"added_tokens", {added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")}},
            {"normalizer",
             in_sequence({{{"type", "Prepend"}, {"prepend", mark}}, replace(" ", mark)}, "normalizers")},
            {"pre_tokenizer", nullptr},
            {"post_processor", beginning_with(1, "<s>")},
            {"decoder", in_sequence({replace(mark, " "),
                                     {{"type", "ByteFallback"}},
                                     {{"type", "Fuse"}},
                                     {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}},
                                    "decoders")},
            {"model",
             {{"type", "BPE"},
              {"unk_token", "<unk>"},
              {"fuse_unk", true},
              {"byte_fallback", true},
              {"vocab", vocabulary},
              {"merges", merge_list}}}};
}

tokenizer::GgufVocabulary small_gguf() {
    tokenizer::GgufVocabulary vocabulary;
    vocabulary.model = "gpt2";
    vocabulary.pre = "smollm";
    vocabulary.tokens = tokens();
    vocabulary.token_types.assign(vocabulary.tokens.size(), 1);
    vocabulary.token_types[264] = vocabulary.token_types[265] = 3;
    for (const auto& [left, right] : merges) vocabulary.merges.push_back(left + " " + right);
    vocabulary.bos = 264;
    vocabulary.eos = 265;
    return vocabulary;
}

tokenizer::Tokenizer with(const std::string& pointer, json value) {
    json document = small_tokenizer();
    document[json::json_pointer(pointer)] = std::move(value);
    return tokenizer::Tokenizer::from_json(document.dump());
}

json split(const std::string& regex, const std::string& behavior, bool invert) {
    return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", behavior}, {"invert", invert}};
}

json byte_level(bool add_prefix_space, bool use_regex) {
    return {{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"use_regex", use_regex}};
}

json in_sequence(std::vector<json> components, const std::string& list) {
    return {{"type", "Sequence"}, {list, std::move(components)}};
}

json replace(const std::string& pattern, const std::string& content) {
    return {{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
}

json beginning_with(int id, const std::string& token) {
    return {{"type", "TemplateProcessing"},
            {"single",
             {{{"SpecialToken", {{"id", token}, {"type_id", 0}}}},
              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
            {"pair", json::array()},
            {"special_tokens", {{token, {{"id", token}, {"ids", {id}}, {"tokens", {token}}}}}}};
}

json added(int id, const std::string& content) {
    return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
            {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Ids bytes(std::string_view text) {
    Ids ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
}

}  // namespace espalier::test
