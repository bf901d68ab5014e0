#include "src/tokenizer/byte_level_bpe.hpp"

#include <algorithm>

#include "src/core/error.hpp"
#include "src/tokenizer/byte_alphabet.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {

ByteLevelBpe::ByteLevelBpe(Definition definition)
    : definition_(std::move(definition)),
      raw_finder_(finder(false)),
      normalized_finder_(finder(true)),
      pre_tokenizer_(definition_) {
    index_tokens();
    index_bytes();
    index_merges();
}

void ByteLevelBpe::index_tokens() {
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

void ByteLevelBpe::index_bytes() {
    const auto& vocabulary = definition_.vocabulary;
    if (definition_.unk_token) {
        const auto unk = vocabulary.find(*definition_.unk_token);
        ESPALIER_REQUIRE(unk != vocabulary.end(),
                         "the unknown token '{}' is not in the vocabulary; add it or leave unk_token out",
                         *definition_.unk_token);
        unk_id_ = unk->second;
    }
    for (int byte = 0; byte < 256; ++byte) {
        const std::string& character = spelled(static_cast<unsigned char>(byte));
        if (const auto found = vocabulary.find(character); found != vocabulary.end()) {
            byte_ids_[byte] = {found->second};
        } else if (definition_.byte_fallback) {
            // As `tokenizers` does it: the fallback spells the character that stands for the byte.
            std::vector<int32_t> ids;
            for (const char part : character) {
                const auto code =
                    vocabulary.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(part)));
                if (code != vocabulary.end()) ids.push_back(code->second);
            }
            if (ids.size() == character.size()) byte_ids_[byte] = ids;
        }
    }
}

void ByteLevelBpe::index_merges() {
    const auto id_of = [&](const std::string& token, size_t rank) {
        const auto found = definition_.vocabulary.find(token);
        ESPALIER_REQUIRE(
            found != definition_.vocabulary.end(),
            "merge {} needs the token '{}', which the vocabulary lacks; the file is damaged or its parts "
            "are of different models",
            rank, token);
        return found->second;
    };
    for (size_t rank = 0; rank < definition_.merges.size(); ++rank) {
        const auto& [left, right] = definition_.merges[rank];
        merges_.add(id_of(left, rank), id_of(right, rank), static_cast<uint32_t>(rank),
                    id_of(left + right, rank));
    }
}

AddedTokenFinder ByteLevelBpe::finder(bool of_normalized) const {
    std::vector<const AddedToken*> tokens;
    std::vector<std::string> contents;
    for (const AddedToken& added : definition_.added_tokens) {
        if (added.normalized != of_normalized) continue;
        tokens.push_back(&added);
        contents.push_back(of_normalized ? normalized(added.content) : added.content);
    }
    return {tokens, contents};
}

std::string ByteLevelBpe::normalized(std::string_view text) const {
    std::string result(text);
    for (const Normalization form : definition_.normalizers) result = normalize(result, form);
    return result;
}

std::vector<int32_t> ByteLevelBpe::encode(std::string_view utf8, Special special) const {
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
        const std::string text = definition_.normalizers.empty() ? std::string() : normalized(outer.text);
        const std::string_view view = definition_.normalizers.empty() ? outer.text : text;
        for (const auto& inner : normalized_finder_.split(view)) {
            if (inner.token != nullptr) {
                ids.push_back(inner.token->id);
            } else {
                encode_text(inner.text, cache, ids);
            }
        }
    }
    if (special == Special::add) ids.insert(ids.end(), definition_.after.begin(), definition_.after.end());
    return ids;
}

void ByteLevelBpe::encode_text(std::string_view text, PieceCache& cache, std::vector<int32_t>& ids) const {
    const Pieces pieces = pre_tokenizer_.split(text);
    for (const std::string_view piece : pieces.views) {
        if (!cache.append(piece, ids)) encode_piece(piece, cache, ids);
    }
}

void ByteLevelBpe::encode_piece(std::string_view piece, PieceCache& cache, std::vector<int32_t>& ids) const {
    std::vector<int32_t> found;
    if (definition_.ignore_merges) {
        const auto whole = definition_.vocabulary.find(spell(piece));
        if (whole != definition_.vocabulary.end()) found = {whole->second};
    }
    if (found.empty()) {
        found = symbols(piece);
        merges_.apply(found);
    }
    cache.remember(piece, found);
    ids.insert(ids.end(), found.begin(), found.end());
}

std::vector<int32_t> ByteLevelBpe::symbols(std::string_view piece) const {
    std::vector<int32_t> ids;
    ids.reserve(piece.size());
    bool after_unknown = false;
    for (const char byte : piece) {
        const auto& known = byte_ids_[static_cast<unsigned char>(byte)];
        ids.insert(ids.end(), known.begin(), known.end());
        if (known.empty() && unk_id_ && !(definition_.fuse_unk && after_unknown)) ids.push_back(*unk_id_);
        after_unknown = known.empty();
    }
    return ids;
}

std::string ByteLevelBpe::decode(std::span<const int32_t> ids, SkipSpecial skip) const {
    std::string bytes;
    for (const int32_t id : ids) {
        if (const auto added = added_token_of_.find(id); added != added_token_of_.end()) {
            if (!added->second->special || skip == SkipSpecial::no) bytes += added->second->content;
        } else if (const auto token = token_of_.find(id); token != token_of_.end()) {
            const auto spelled_bytes = unspell(token->second);
            bytes += spelled_bytes ? *spelled_bytes : std::string(token->second);
        }
    }
    return replace_invalid(bytes);
}

std::optional<std::string> ByteLevelBpe::token(int32_t id) const {
    const auto found = token_of_.find(id);
    if (found == token_of_.end()) return std::nullopt;
    return std::string(found->second);
}

std::optional<int32_t> ByteLevelBpe::id(std::string_view token) const {
    if (const auto added = added_id_of_.find(token); added != added_id_of_.end()) return added->second;
    if (const auto found = definition_.vocabulary.find(token); found != definition_.vocabulary.end())
        return found->second;
    return std::nullopt;
}

std::vector<int32_t> ByteLevelBpe::text_ids() const {
    std::vector<int32_t> out;
    for (const auto& ids : byte_ids_) out.insert(out.end(), ids.begin(), ids.end());
    for (const auto& [left, right] : definition_.merges)
        out.push_back(definition_.vocabulary.find(left + right)->second);
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

std::string ByteLevelBpe::to_json() const {
    return tokenizer_json(definition_);
}

std::string ByteLevelBpe::config_json() const {
    return tokenizer_config_json(definition_);
}

}  // namespace espalier::tokenizer
