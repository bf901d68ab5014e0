#include "src/tokenizer/vocabulary_cut.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <numeric>

#include "src/core/error.hpp"
#include "src/core/exact.hpp"
#include "src/json/parse.hpp"
#include "src/tokenizer/byte_alphabet.hpp"
#include "src/tokenizer/decoder.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/merges.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

bool contains(const std::vector<int64_t>& ascending, int64_t id) {
    return std::binary_search(ascending.begin(), ascending.end(), id);
}

MergeTable merge_table(const Definition& definition) {
    MergeTable out;
    for (size_t rank = 0; rank < definition.merges.size(); ++rank) {
        const auto& [left, right] = definition.merges[rank];
        const auto id = [&](const std::string& token) {
            const auto found = definition.vocabulary.find(token);
            ESPALIER_REQUIRE(found != definition.vocabulary.end(),
                             "merge {} needs the token '{}', which the vocabulary lacks", rank, token);
            return found->second;
        };
        out.add(id(left), id(right), static_cast<uint32_t>(rank), id(left + right));
    }
    return out;
}

/// What merges that lead to a token begin with, as the vocabulary spells it; nothing where there is none.
std::optional<std::vector<std::string>> symbols(const Definition& definition, std::string_view token) {
    std::vector<std::string> out;
    if (definition.alphabet == Alphabet::characters) {
        while (!token.empty()) out.emplace_back(take_character(token));
        return out;
    }
    const auto bytes = unspell(token);
    if (!bytes) return std::nullopt;
    for (const char byte : *bytes) out.push_back(spelled(static_cast<unsigned char>(byte)));
    return out;
}

/// Their ids; nothing where one has no token.
std::optional<std::vector<int32_t>> symbol_ids(const Definition& definition, std::string_view token) {
    const auto names = symbols(definition, token);
    if (!names) return std::nullopt;
    std::vector<int32_t> out;
    for (const std::string& name : *names) {
        const auto found = definition.vocabulary.find(name);
        if (found == definition.vocabulary.end()) return std::nullopt;
        out.push_back(found->second);
    }
    return out;
}

bool is_character(std::string_view token) {
    if (token.empty()) return false;
    take_character(token);
    return token.empty();
}

/// All characters, unless bytes can stand in for them. They cannot for the one that stands for a space: it
/// would be decoded as itself.
void add_characters(const Definition& definition, std::vector<int64_t>& out) {
    for (const auto& [token, id] : definition.vocabulary) {
        const bool space =
            token == word_mark || (definition.metaspace && token == definition.metaspace->replacement);
        if (space || (!definition.byte_fallback && is_character(token))) out.push_back(id);
    }
}

std::vector<int64_t> always_kept(const Definition& definition) {
    std::vector<int64_t> out;
    const auto add = [&](const std::string& token) {
        const auto found = definition.vocabulary.find(token);
        if (found != definition.vocabulary.end()) out.push_back(found->second);
    };
    for (int byte = 0; byte < 256; ++byte) {
        if (definition.alphabet == Alphabet::bytes) add(spelled(static_cast<unsigned char>(byte)));
        if (definition.byte_fallback) add(byte_token(static_cast<unsigned char>(byte)));
    }
    if (definition.alphabet == Alphabet::characters) add_characters(definition, out);
    if (definition.unk_token) add(*definition.unk_token);
    for (const AddedToken& added : definition.added_tokens) out.push_back(added.id);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

}  // namespace

VocabularyCut::VocabularyCut(std::string_view tokenizer_json) {
    const Definition definition = parse_definition(tokenizer_json);
    const MergeTable merges = merge_table(definition);
    required_ = always_kept(definition);
    const auto place = [&](int32_t id) {
        const auto at = static_cast<size_t>(id);
        if (parts_.size() <= at) {
            parts_.resize(at + 1);
            names_.resize(at + 1);
        }
        return at;
    };
    for (const auto& [token, id] : definition.vocabulary) {
        names_[place(id)] = token;
        auto ids = symbol_ids(definition, token);
        if (!ids) continue;
        std::vector<int32_t> made = *ids;
        merges.apply(*ids, &made);
        if (*ids == std::vector<int32_t>{id}) {
            auto& parts = parts_[static_cast<size_t>(id)];
            parts.assign(made.begin(), made.end());
            std::sort(parts.begin(), parts.end());  // "abab" is made of "ab" twice
            parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
        } else if (definition.ignore_merges) {
            parts_[static_cast<size_t>(id)] = {id};  // found as a whole piece
        }
    }
    for (const AddedToken& added : definition.added_tokens) names_[place(added.id)] = added.content;
}

const std::vector<int64_t>& VocabularyCut::parts(int64_t id) const {
    static const std::vector<int64_t> none;
    return id < std::ssize(parts_) ? parts_[static_cast<size_t>(id)] : none;
}

std::string VocabularyCut::name(int64_t id) const {
    return id < std::ssize(names_) ? names_[static_cast<size_t>(id)] : "";
}

std::vector<int64_t> VocabularyCut::most_frequent(const std::vector<double>& frequencies, int64_t count,
                                                  const std::vector<int64_t>& also) const {
    const auto ids = std::ssize(frequencies);
    std::vector<bool> stays(frequencies.size(), false);
    int64_t room = count;
    const auto keep = [&](int64_t id) {
        if (stays[static_cast<size_t>(id)]) return;
        stays[static_cast<size_t>(id)] = true;
        --room;
    };
    for (const auto* list : {&required_, &also}) {
        for (const int64_t id : *list) {
            ESPALIER_REQUIRE(id < ids, "the tokenizer's token {} '{}' is beyond the model's vocabulary of {}",
                             id, name(id), ids);
            keep(id);
        }
    }
    ESPALIER_REQUIRE(
        room >= 0,
        "--vocab {}: special and byte tokens, which always stay, are {} already; choose --vocab >= "
        "{}",
        count, count - room, count - room);

    std::vector<int64_t> order(frequencies.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    const bool any_token = !parts_.empty();
    const auto rank = [&](int64_t id) {
        return any_token && parts(id).empty() ? -1.0 : frequencies[static_cast<size_t>(id)];
    };
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return rank(a) > rank(b); });
    // A token whose parts find no room waits: others may bring some of them. One with a part that the model
    // has no row for never comes.
    for (bool added = true; added && room > 0;) {
        added = false;
        for (const int64_t id : order) {
            if (room == 0) break;
            if (stays[static_cast<size_t>(id)]) continue;
            const auto beyond = [&](int64_t part) { return part >= ids; };
            if (std::any_of(parts(id).begin(), parts(id).end(), beyond)) continue;
            const auto missing = std::count_if(parts(id).begin(), parts(id).end(), [&](int64_t part) {
                return part != id && !stays[static_cast<size_t>(part)];
            });
            if (missing + 1 > room) continue;
            for (const int64_t part : parts(id)) keep(part);
            keep(id);
            added = true;
        }
    }
    std::vector<int64_t> out;
    for (int64_t id = 0; id < ids; ++id) {
        if (stays[static_cast<size_t>(id)]) out.push_back(id);
    }
    return out;
}

void VocabularyCut::check(const std::vector<int64_t>& ids, const std::string& source) const {
    for (const int64_t id : required_) {
        ESPALIER_REQUIRE(
            contains(ids, id),
            "{}: token {} '{}' is missing; special tokens and those of single bytes must stay ({} "
            "in all)",
            source, id, name(id), required_.size());
    }
    for (const int64_t id : ids) {
        for (const int64_t part : parts(id)) {
            ESPALIER_REQUIRE(
                contains(ids, part),
                "{}: token {} '{}' is merged from {} '{}', which is missing; list both or neither", source,
                id, name(id), part, name(part));
        }
    }
}

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
    for (auto& [key, value] : document.items()) {
        if (key.ends_with("_token_id") || key.ends_with("suppress_tokens")) value = ids.of(value);
    }
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
