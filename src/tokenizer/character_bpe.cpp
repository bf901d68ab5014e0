#include "src/tokenizer/character_bpe.hpp"

#include <algorithm>

#include "src/tokenizer/decoder.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {

CharacterBpe::CharacterBpe(Definition of) : Bpe(std::move(of)) {
    if (!definition().byte_fallback) return;
    for (int byte = 0; byte < 256; ++byte) {
        const auto found = definition().vocabulary.find(byte_token(static_cast<unsigned char>(byte)));
        if (found != definition().vocabulary.end()) byte_ids_[byte] = found->second;
    }
}

/// Appends what names the bytes of a character, unless the vocabulary lacks one of them.
bool CharacterBpe::append_bytes(std::string_view character, std::vector<int32_t>& ids) const {
    const auto id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
    const bool known =
        std::all_of(character.begin(), character.end(), [&](char byte) { return id(byte).has_value(); });
    if (known)
        std::transform(character.begin(), character.end(), std::back_inserter(ids),
                       [&](char byte) { return *id(byte); });
    return known;
}

// As BPE::merge_word of huggingface/tokenizers, models/bpe/model.rs, where an unknown token waits, so that
// others can join it, until a character is known: bytes go before it.
std::vector<int32_t> CharacterBpe::symbols(std::string_view piece) const {
    std::vector<int32_t> ids;
    ids.reserve(piece.size());
    bool unknown_waits = false;
    const auto put_unknown = [&] {
        if (unknown_waits) ids.push_back(*unk_id());
        unknown_waits = false;
    };
    while (!piece.empty()) {
        const std::string_view character = take_character(piece);
        const auto found = definition().vocabulary.find(character);
        if (found != definition().vocabulary.end()) {
            put_unknown();
            ids.push_back(found->second);
        } else if (!append_bytes(character, ids) && unk_id()) {
            if (!definition().fuse_unk) put_unknown();
            unknown_waits = true;
        }
    }
    put_unknown();
    return ids;
}

std::vector<int32_t> CharacterBpe::alphabet_ids() const {
    std::vector<int32_t> out;
    for (const auto& id : byte_ids_) {
        if (id) out.push_back(*id);
    }
    for (const auto& [token, id] : definition().vocabulary) {
        std::string_view rest = token;
        if (!rest.empty()) take_character(rest);
        if (!token.empty() && rest.empty()) out.push_back(id);
    }
    return out;
}

// A token that is looked for in normalised text is decoded as it stands there.
std::string CharacterBpe::decode(std::span<const int32_t> ids, SkipSpecial skip) const {
    std::vector<std::string> tokens;
    for (const int32_t id : ids) {
        const AddedToken* added = added_token(id);
        if (added && added->special && skip == SkipSpecial::yes) continue;
        if (added && added->normalized) {
            tokens.push_back(normalized_text(added->content));
        } else if (auto name = token(id)) {
            tokens.push_back(std::move(*name));
        }
    }
    return decoded(std::move(tokens), definition().decoders);
}

}  // namespace espalier::tokenizer
