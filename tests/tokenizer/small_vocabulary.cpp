#include "tests/tokenizer/small_vocabulary.hpp"

#include "src/tokenizer/byte_alphabet.hpp"

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

json in_sequence(std::vector<json> pretokenizers) {
    return {{"type", "Sequence"}, {"pretokenizers", std::move(pretokenizers)}};
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
