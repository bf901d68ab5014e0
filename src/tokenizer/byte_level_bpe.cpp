#include "src/tokenizer/byte_level_bpe.hpp"

#include "src/tokenizer/byte_alphabet.hpp"
#include "src/tokenizer/decoder.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {

ByteLevelBpe::ByteLevelBpe(Definition of) : Bpe(std::move(of)) {
    const auto& vocabulary = definition().vocabulary;
    for (int byte = 0; byte < 256; ++byte) {
        const std::string& character = spelled(static_cast<unsigned char>(byte));
        if (const auto found = vocabulary.find(character); found != vocabulary.end()) {
            byte_ids_[byte] = {found->second};
        } else if (definition().byte_fallback) {
            // As `tokenizers` does it: the fallback spells the character that stands for the byte.
            std::vector<int32_t> ids;
            for (const char part : character) {
                const auto code = vocabulary.find(byte_token(static_cast<unsigned char>(part)));
                if (code != vocabulary.end()) ids.push_back(code->second);
            }
            if (ids.size() == character.size()) byte_ids_[byte] = ids;
        }
    }
}

std::string ByteLevelBpe::spelled_piece(std::string_view piece) const {
    return spell(piece);
}

std::vector<int32_t> ByteLevelBpe::symbols(std::string_view piece) const {
    std::vector<int32_t> ids;
    ids.reserve(piece.size());
    bool after_unknown = false;
    for (const char byte : piece) {
        const auto& known = byte_ids_[static_cast<unsigned char>(byte)];
        ids.insert(ids.end(), known.begin(), known.end());
        if (known.empty() && unk_id() && !(definition().fuse_unk && after_unknown)) ids.push_back(*unk_id());
        after_unknown = known.empty();
    }
    return ids;
}

std::string ByteLevelBpe::decode(std::span<const int32_t> ids, SkipSpecial skip) const {
    std::string bytes;
    for (const int32_t id : ids) {
        if (const AddedToken* added = added_token(id)) {
            if (!added->special || skip == SkipSpecial::no) bytes += added->content;
        } else if (const auto name = token(id)) {
            bytes += unspell(*name).value_or(*name);
        }
    }
    return replace_invalid(bytes);
}

std::vector<int32_t> ByteLevelBpe::alphabet_ids() const {
    std::vector<int32_t> out;
    for (const auto& ids : byte_ids_) out.insert(out.end(), ids.begin(), ids.end());
    return out;
}

}  // namespace espalier::tokenizer
