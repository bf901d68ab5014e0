#include <algorithm>
#include <nlohmann/json.hpp>

#include "src/tokenizer/component_json.hpp"
#include "src/tokenizer/definition_json.hpp"

namespace espalier::tokenizer {
namespace {

using nlohmann::json;

std::string content(const Definition& definition, int32_t id) {
    for (const AddedToken& added : definition.added_tokens) {
        if (added.id == id) return added.content;
    }
    const auto found = std::find_if(definition.vocabulary.begin(), definition.vocabulary.end(),
                                    [&](const auto& entry) { return entry.second == id; });
    return found == definition.vocabulary.end() ? std::string() : found->first;
}

json post_processor(const Definition& definition) {
    if (definition.before.empty() && definition.after.empty())
        return definition.alphabet == Alphabet::bytes ? byte_level_json() : json();
    json single = json::array(), second = json::array(), special = json::object();
    const auto put = [&](const std::vector<int32_t>& ids) {
        for (const int32_t id : ids) {
            const std::string name = content(definition, id);
            single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
            second.push_back({{"SpecialToken", {{"id", name}, {"type_id", 1}}}});
            special[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
        }
    };
    put(definition.before);
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    second.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
    put(definition.after);
    json pair = single;
    pair.insert(pair.end(), second.begin(), second.end());
    return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

json added_tokens(const Definition& definition) {
    std::vector<AddedToken> sorted = definition.added_tokens;
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    json list = json::array();
    for (const AddedToken& added : sorted) {
        list.push_back({{"id", added.id},
                        {"content", added.content},
                        {"single_word", added.single_word},
                        {"lstrip", added.lstrip},
                        {"rstrip", added.rstrip},
                        {"normalized", added.normalized},
                        {"special", added.special}});
    }
    return list;
}

json model(const Definition& definition) {
    json merges = json::array();
    for (const auto& [left, right] : definition.merges) {
        // The older spelling, which every version of `tokenizers` reads.
        const bool plain = left.find(' ') == std::string::npos && right.find(' ') == std::string::npos;
        merges.push_back(plain ? json(left + ' ' + right) : json{left, right});
    }
    json vocabulary = json::object();
    for (const auto& [token, id] : definition.vocabulary) vocabulary[token] = id;
    return {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", definition.unk_token ? json(*definition.unk_token) : json()},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", definition.fuse_unk},
            {"byte_fallback", definition.byte_fallback},
            {"ignore_merges", definition.ignore_merges},
            {"vocab", std::move(vocabulary)},
            {"merges", std::move(merges)}};
}

}  // namespace

std::string tokenizer_json(const Definition& definition) {
    const json document = {{"version", "1.0"},
                           {"truncation", nullptr},
                           {"padding", nullptr},
                           {"added_tokens", added_tokens(definition)},
                           {"normalizer", normalizer_json(definition)},
                           {"pre_tokenizer", pre_tokenizer_json(definition)},
                           {"post_processor", post_processor(definition)},
                           {"decoder", decoder_json(definition)},
                           {"model", model(definition)}};
    return document.dump(2);
}

std::string tokenizer_config_json(const Definition& definition) {
    // Without add_bos_token and add_eos_token: they would override the post-processor of tokenizer.json.
    json document = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
    const auto put = [&](const char* name, std::optional<int32_t> id) {
        if (id) document[name] = content(definition, *id);
    };
    put("bos_token", definition.special.bos);
    put("eos_token", definition.special.eos);
    put("unk_token", definition.special.unk);
    put("pad_token", definition.special.pad);
    if (definition.chat_template) document["chat_template"] = *definition.chat_template;
    if (definition.model_max_length) document["model_max_length"] = *definition.model_max_length;
    return document.dump(2);
}

}  // namespace espalier::tokenizer
