// BPE of characters, which SentencePiece models become in a tokenizer.json.
#pragma once

#include <array>

#include "src/tokenizer/bpe.hpp"

namespace espalier::tokenizer {

class CharacterBpe final : public Bpe {
public:
    explicit CharacterBpe(Definition definition);
    std::string decode(std::span<const int32_t> ids, SkipSpecial skip) const override;

private:
    std::string spelled_piece(std::string_view piece) const override { return std::string(piece); }
    std::vector<int32_t> symbols(std::string_view piece) const override;
    std::vector<int32_t> alphabet_ids() const override;
    bool append_bytes(std::string_view character, std::vector<int32_t>& ids) const;

    std::array<std::optional<int32_t>, 256> byte_ids_;  // of tokens such as <0x0A>
};

}  // namespace espalier::tokenizer
