#include "src/tokenizer/bpe.hpp"

#include <algorithm>

#include "src/core/error.hpp"
#include "src/tokenizer/byte_level_bpe.hpp"
#include "src/tokenizer/character_bpe.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/normalizer.hpp"

namespace espalier::tokenizer {

Bpe::Bpe(Definition definition)
    : definition_(std::move(definition)),
      raw_finder_(finder(false)),
      normalized_finder_(finder(true)),
      pre_tokenizer_(definition_),
      merges_(merge_table(definition_)) {
    index_tokens();
    index_unknown();
}

void Bpe::index_tokens() {
    for (const auto& [token, id] : definition_.vocabulary) {
        token_of_[id] = token;
        vocab_size_ = std::max<int64_t>(vocab_size_, int64_t{id} + 1);
    }
    for (const AddedToken& added : definition_.added_tokens) {
        const auto in_model = definition_.vocabulary.find(added.content);
        ESPALIER_REQUIRE(in_model == definition_.vocabulary.end() || in_model->second == added.id,
                         "the added token '{}' has id {} in added_tokens and {} in the model's vocabulary; "
                         "make them equal",
                         added.content, added.id, in_model->second);
        token_of_[added.id] = added.content;
        added_token_of_[added.id] = &added;
        added_id_of_.emplace(added.content, added.id);
        vocab_size_ = std::max<int64_t>(vocab_size_, int64_t{added.id} + 1);
    }
}

void Bpe::index_unknown() {
    if (!definition_.unk_token) return;
    const auto unk = definition_.vocabulary.find(*definition_.unk_token);
    ESPALIER_REQUIRE(unk != definition_.vocabulary.end(),
                     "the unknown token '{}' is not in the vocabulary; add it or leave unk_token out",
                     *definition_.unk_token);
    unk_id_ = unk->second;
}

AddedTokenFinder Bpe::finder(bool of_normalized) const {
    std::vector<const AddedToken*> tokens;
    std::vector<std::string> contents;
    for (const AddedToken& added : definition_.added_tokens) {
        if (added.normalized != of_normalized) continue;
        tokens.push_back(&added);
        contents.push_back(of_normalized ? normalized_text(added.content) : added.content);
    }
    return {tokens, contents};
}

std::string Bpe::normalized_text(std::string_view text) const {
    std::string result(text);
    for (const NormalizerStep& step : definition_.normalizers) result = normalized(result, step);
    return result;
}

std::vector<int32_t> Bpe::encode(std::string_view utf8, Special special) const {
    const std::unique_lock lasting(cache_mutex_, std::try_to_lock);
    PieceCache passing;
    PieceCache& cache = lasting ? cache_ : passing;

    std::vector<int32_t> ids;
    ids.reserve(utf8.size() / 4);
    if (special == Special::add) ids = definition_.before;
    for (const auto& outer : raw_finder_.split(utf8)) {
        if (outer.token != nullptr) {
            ids.push_back(outer.token->id);
            continue;
        }
        const std::string text =
            definition_.normalizers.empty() ? std::string() : normalized_text(outer.text);
        const std::string_view view = definition_.normalizers.empty() ? outer.text : text;
        for (const auto& inner : normalized_finder_.split(view)) {
            if (inner.token != nullptr) {
                ids.push_back(inner.token->id);
                continue;
            }
            const bool begins = outer.text.data() == utf8.data() && inner.text.data() == view.data();
            encode_text(inner.text, begins ? Place::beginning : Place::within, cache, ids);
        }
    }
    if (special == Special::add) ids.insert(ids.end(), definition_.after.begin(), definition_.after.end());
    return ids;
}

void Bpe::encode_text(std::string_view text, Place place, PieceCache& cache,
                      std::vector<int32_t>& ids) const {
    const Pieces pieces = pre_tokenizer_.split(text, place);
    for (const std::string_view piece : pieces.views) {
        if (!cache.append(piece, ids)) encode_piece(piece, cache, ids);
    }
}

void Bpe::encode_piece(std::string_view piece, PieceCache& cache, std::vector<int32_t>& ids) const {
    std::vector<int32_t> found;
    if (definition_.ignore_merges) {
        const auto whole = definition_.vocabulary.find(spelled_piece(piece));
        if (whole != definition_.vocabulary.end()) found = {whole->second};
    }
    if (found.empty()) {
        found = symbols(piece);
        merges_.apply(found);
    }
    cache.remember(piece, found);
    ids.insert(ids.end(), found.begin(), found.end());
}

const AddedToken* Bpe::added_token(int32_t id) const {
    const auto found = added_token_of_.find(id);
    return found == added_token_of_.end() ? nullptr : found->second;
}

std::optional<std::string> Bpe::token(int32_t id) const {
    const auto found = token_of_.find(id);
    if (found == token_of_.end()) return std::nullopt;
    return std::string(found->second);
}

std::optional<int32_t> Bpe::id(std::string_view token) const {
    if (const auto added = added_id_of_.find(token); added != added_id_of_.end()) return added->second;
    if (const auto found = definition_.vocabulary.find(token); found != definition_.vocabulary.end())
        return found->second;
    return std::nullopt;
}

std::vector<int32_t> Bpe::text_ids() const {
    std::vector<int32_t> out = alphabet_ids();
    for (const auto& [left, right] : definition_.merges)
        out.push_back(definition_.vocabulary.find(left + right)->second);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

std::string Bpe::to_json() const {
    return tokenizer_json(definition_);
}

std::string Bpe::config_json() const {
    return tokenizer_config_json(definition_);
}

std::shared_ptr<const Backend> make_bpe(Definition definition) {
    if (definition.alphabet == Alphabet::bytes) return std::make_shared<ByteLevelBpe>(std::move(definition));
    return std::make_shared<CharacterBpe>(std::move(definition));
}

}  // namespace espalier::tokenizer
