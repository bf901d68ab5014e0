#include "src/tokenizer/sentencepiece_backend.hpp"

#include <sentencepiece_processor.h>

#include <algorithm>

#include "src/core/error.hpp"
#include "src/tokenizer/sentencepiece_vocabulary.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

AddedTokenFinder finder(const std::vector<AddedToken>& added) {
    std::vector<const AddedToken*> tokens;
    std::vector<std::string> contents;
    for (const AddedToken& token : added) {
        tokens.push_back(&token);
        contents.push_back(token.content);
    }
    return {tokens, contents};
}

}  // namespace

SentencePieceBackend::SentencePieceBackend(Processor processor)
    : SentencePieceBackend(std::move(processor), Definition()) {
    definition_.special = tokenizer::special_ids(*processor_);
}

SentencePieceBackend::SentencePieceBackend(Processor processor, Definition definition)
    : processor_(std::move(processor)),
      definition_(std::move(definition)),
      finder_(finder(definition_.added_tokens)),
      vocab_size_(processor_->GetPieceSize()) {
    for (const AddedToken& token : definition_.added_tokens)
        vocab_size_ = std::max(vocab_size_, int64_t{token.id} + 1);
}

const AddedToken* SentencePieceBackend::added_token(int32_t id) const {
    const auto& tokens = definition_.added_tokens;
    const auto found =
        std::find_if(tokens.begin(), tokens.end(), [&](const AddedToken& token) { return token.id == id; });
    return found == tokens.end() ? nullptr : &*found;
}

bool SentencePieceBackend::is_piece(int32_t id) const {
    return 0 <= id && id < processor_->GetPieceSize();
}

std::vector<int32_t> SentencePieceBackend::encode(std::string_view utf8, Special special) const {
    std::vector<int32_t> ids;
    if (special == Special::add) ids = definition_.before;
    for (const auto& segment : finder_.split(utf8)) {
        if (segment.token != nullptr) {
            ids.push_back(segment.token->id);
            continue;
        }
        std::vector<int> pieces;
        const auto status = processor_->Encode(segment.text, &pieces);
        ESPALIER_REQUIRE(status.ok(), "SentencePiece cannot encode the text: {}", status.ToString());
        ids.insert(ids.end(), pieces.begin(), pieces.end());
    }
    if (special == Special::add) ids.insert(ids.end(), definition_.after.begin(), definition_.after.end());
    return ids;
}

std::string SentencePieceBackend::decode(std::span<const int32_t> ids, SkipSpecial skip) const {
    // SentencePiece decodes control tokens to nothing, and knows no added ones: they stand between what is
    // decoded.
    std::string text;
    std::vector<int> run;
    const auto flush = [&] {
        std::string decoded;
        const auto status = processor_->Decode(run, &decoded);
        ESPALIER_REQUIRE(status.ok(), "SentencePiece cannot decode the ids: {}", status.ToString());
        text += decoded;
        run.clear();
    };
    for (const int32_t id : ids) {
        const AddedToken* added = added_token(id);
        if (!added && !is_piece(id)) continue;
        if (!added && !processor_->IsControl(id)) {
            run.push_back(id);
        } else if (skip == SkipSpecial::no || (added && !added->special)) {
            flush();
            text += added ? added->content : processor_->IdToPiece(id);
        }
    }
    flush();
    return replace_invalid(text);
}

std::optional<std::string> SentencePieceBackend::token(int32_t id) const {
    if (const AddedToken* added = added_token(id)) return added->content;
    return is_piece(id) ? std::optional(processor_->IdToPiece(id)) : std::nullopt;
}

std::optional<int32_t> SentencePieceBackend::id(std::string_view token) const {
    for (const AddedToken& added : definition_.added_tokens) {
        if (added.content == token) return added.id;
    }
    // An unknown piece gets the unknown token's id.
    const int found = processor_->PieceToId(token);
    if (found < 0 || processor_->IdToPiece(found) != token) return std::nullopt;
    return found;
}

std::vector<int32_t> SentencePieceBackend::text_ids() const {
    std::vector<int32_t> out;
    for (int32_t id = 0; is_piece(id); ++id) {
        const bool stands_for_text =
            !processor_->IsControl(id) && !processor_->IsUnknown(id) && !processor_->IsUnused(id);
        if (stands_for_text && !added_token(id)) out.push_back(id);
    }
    return out;
}

std::string SentencePieceBackend::to_json() const {
    fail(
        "a SentencePiece model is not written as tokenizer.json; copy the .model file beside the exported "
        "model");
}

std::string SentencePieceBackend::config_json() const {
    fail(
        "a SentencePiece model has no tokenizer_config.json of its own; copy the source's beside the "
        "exported model");
}

}  // namespace espalier::tokenizer
