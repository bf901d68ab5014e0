#include "src/tokenizer/vocabulary_cut.hpp"

#include <algorithm>
#include <numeric>

#include "src/core/error.hpp"
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
    for (const auto& [token, id] : definition.vocabulary) {
        names_[id] = token;
        auto ids = symbol_ids(definition, token);
        if (!ids) continue;
        std::vector<int32_t> made = *ids;
        merges.apply(*ids, &made);
        if (*ids == std::vector<int32_t>{id}) {
            auto& parts = parts_[id];
            parts.assign(made.begin(), made.end());
            std::sort(parts.begin(), parts.end());  // "abab" is made of "ab" twice
            parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
        } else if (definition.ignore_merges) {
            parts_[id] = {id};  // found as a whole piece
        }
    }
    for (const AddedToken& added : definition.added_tokens) names_[added.id] = added.content;
}

const std::vector<int64_t>& VocabularyCut::parts(int64_t id) const {
    static const std::vector<int64_t> none;
    const auto found = parts_.find(id);
    return found == parts_.end() ? none : found->second;
}

std::string VocabularyCut::name(int64_t id) const {
    const auto found = names_.find(id);
    return found == names_.end() ? "" : found->second;
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

}  // namespace espalier::tokenizer
