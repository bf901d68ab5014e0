#include <algorithm>
#include <nlohmann/json.hpp>

#include "src/tokenizer/definition_json.hpp"

namespace espalier::tokenizer {
namespace {

using nlohmann::json;

const char* name_of(Normalization form) {
    switch (form) {
        case Normalization::nfc:
            return "NFC";
        case Normalization::nfd:
            return "NFD";
        case Normalization::nfkc:
            return "NFKC";
        case Normalization::nfkd:
            return "NFKD";
    }
    return "";
}

const char* name_of(SplitBehavior behavior) {
    switch (behavior) {
        case SplitBehavior::removed:
            return "Removed";
        case SplitBehavior::isolated:
            return "Isolated";
        case SplitBehavior::merged_with_previous:
            return "MergedWithPrevious";
        case SplitBehavior::merged_with_next:
            return "MergedWithNext";
        case SplitBehavior::contiguous:
            return "Contiguous";
    }
    return "";
}

// A component alone, or a Sequence whose parts stand under `list`; null for none.
json sequence(std::vector<json> parts, const char* list) {
    if (parts.empty()) return nullptr;
    if (parts.size() == 1) return parts.front();
    return {{"type", "Sequence"}, {list, std::move(parts)}};
}

json byte_level(bool add_prefix_space, bool use_regex) {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", add_prefix_space},
            {"trim_offsets", true},
            {"use_regex", use_regex}};
}

json normalizer(const Definition& definition) {
    std::vector<json> parts;
    for (const Normalization form : definition.normalizers) parts.push_back({{"type", name_of(form)}});
    return sequence(std::move(parts), "normalizers");
}

json pre_tokenizer(const Definition& definition) {
    std::vector<json> parts;
    for (const SplitStep& step : definition.splits) {
        parts.push_back({{"type", "Split"},
                         {"pattern", {{"Regex", step.pattern}}},
                         {"behavior", name_of(step.behavior)},
                         {"invert", step.invert}});
    }
    parts.push_back(byte_level(definition.add_prefix_space, definition.gpt2_split));
    return sequence(std::move(parts), "pretokenizers");
}

std::string content(const Definition& definition, int32_t id) {
    for (const AddedToken& added : definition.added_tokens) {
        if (added.id == id) return added.content;
    }
    const auto found = std::find_if(definition.vocabulary.begin(), definition.vocabulary.end(),
                                    [&](const auto& entry) { return entry.second == id; });
    return found == definition.vocabulary.end() ? std::string() : found->first;
}

json post_processor(const Definition& definition) {
    if (definition.before.empty() && definition.after.empty()) return byte_level(true, true);
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
        // The older spelling, which every version of `tokenizers` reads; byte-level tokens hold no space.
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
                           {"normalizer", normalizer(definition)},
                           {"pre_tokenizer", pre_tokenizer(definition)},
                           {"post_processor", post_processor(definition)},
                           {"decoder", byte_level(true, true)},
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
