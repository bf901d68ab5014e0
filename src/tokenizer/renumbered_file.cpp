#include "src/tokenizer/renumbered_file.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "src/json/parse.hpp"
#include "src/tokenizer/merges.hpp"

namespace espalier::tokenizer {
namespace {

using nlohmann::json;

/// New ids of the kept.
class NewIds {
public:
    explicit NewIds(const std::vector<int64_t>& kept) : kept_(kept) {}
    std::optional<int64_t> of(int64_t id) const {
        const auto at = std::lower_bound(kept_.begin(), kept_.end(), id);
        return at != kept_.end() && *at == id ? std::optional<int64_t>(at - kept_.begin()) : std::nullopt;
    }
    /// A number, or a list of which what is gone is left out; null where nothing stays.
    json of(const json& ids) const {
        if (ids.is_number_integer()) {
            const auto id = of(ids.get<int64_t>());
            return id ? json(*id) : json();
        }
        if (!ids.is_array()) return ids;
        json out = json::array();
        for (const json& id : ids) {
            const json fresh = of(id);
            if (!fresh.is_null()) out.push_back(fresh);
        }
        return out;
    }
    /// A list of sequences of ids, of which those that hold one that is gone are left out; null where none
    /// stays (transformers refuses an empty list), or there was no list.
    json of_sequences(const json& sequences) const {
        json out;
        for (const json& sequence : sequences) {
            json fresh = of(sequence);
            if (fresh.is_array() && fresh.size() == sequence.size()) out.push_back(std::move(fresh));
        }
        return out;
    }
    /// {"token": id}
    json of_table(const json& table) const {
        json out = json::object();
        for (const auto& [token, id] : table.items()) {
            const json fresh = of(id);
            if (!fresh.is_null()) out[token] = fresh;
        }
        return out;
    }

private:
    const std::vector<int64_t>& kept_;
};

void renumber_post_processor(json& component, const NewIds& ids) {
    if (component.contains("processors")) {
        for (json& part : component["processors"]) renumber_post_processor(part, ids);
    }
    if (!component.contains("special_tokens")) return;
    for (auto& [name, token] : component["special_tokens"].items()) token["ids"] = ids.of(token["ids"]);
}

/// Of a merge in either of a tokenizer.json's spellings, which VocabularyCut has read.
std::pair<std::string, std::string> tokens_of(const json& merge) {
    if (merge.is_array()) return {merge.at(0).get<std::string>(), merge.at(1).get<std::string>()};
    return split_merge(merge.get<std::string>()).value();
}

json kept_merges(const json& merges, const json& vocabulary) {
    json out = json::array();
    for (const json& merge : merges) {
        const auto [left, right] = tokens_of(merge);
        if (vocabulary.contains(left) && vocabulary.contains(right) && vocabulary.contains(left + right))
            out.push_back(merge);
    }
    return out;
}

void renumber_tokenizer(json& document, const NewIds& ids) {
    json& model = document.at("model");
    model["vocab"] = ids.of_table(model.at("vocab"));
    model["merges"] = kept_merges(model.at("merges"), model["vocab"]);
    if (document.contains("added_tokens")) {
        for (json& added : document["added_tokens"]) added["id"] = ids.of(added["id"]);
    }
    if (document.contains("post_processor") && document["post_processor"].is_object())
        renumber_post_processor(document["post_processor"], ids);
    if (document.contains("padding") && document["padding"].is_object())
        document["padding"]["pad_id"] = ids.of(document["padding"]["pad_id"]);
}

void renumber_config(json& document, const NewIds& ids) {
    if (!document.contains("added_tokens_decoder")) return;
    json decoder = json::object();
    for (auto& [id, token] : document["added_tokens_decoder"].items()) {
        int64_t number = -1;
        std::from_chars(id.data(), id.data() + id.size(), number);
        const auto fresh = ids.of(number);
        if (fresh) decoder[std::to_string(*fresh)] = token;
    }
    document["added_tokens_decoder"] = std::move(decoder);
}

void renumber_generation(json& document, const NewIds& ids) {
    if (!document.is_object()) return;
    for (auto& [key, value] : document.items()) {
        if (key.ends_with("_token_id") || key.ends_with("suppress_tokens")) value = ids.of(value);
        if (key == "bad_words_ids") value = ids.of_sequences(value);
    }
    for (const char* key : {"force_words_ids", "forced_decoder_ids", "sequence_bias"}) document.erase(key);
}

}  // namespace

std::string renumbered_file(const std::string& name, const std::string& content,
                            const std::vector<int64_t>& kept) {
    const bool knows = name == "tokenizer.json" || name == "tokenizer_config.json" ||
                       name == "added_tokens.json" || name == "generation_config.json";
    if (!knows) return content;
    json document = parse_json(content, name, {.unique_keys = false});
    const NewIds ids(kept);
    if (name == "tokenizer.json") renumber_tokenizer(document, ids);
    if (name == "tokenizer_config.json") renumber_config(document, ids);
    if (name == "added_tokens.json") document = ids.of_table(document);
    if (name == "generation_config.json") renumber_generation(document, ids);
    return document.dump(2);
}

}  // namespace espalier::tokenizer
