// Byte-level BPE: merges begin with bytes, each spelled as one character.
#pragma once

#include <array>

#include "src/tokenizer/bpe.hpp"

namespace espalier::tokenizer {

class ByteLevelBpe final : public Bpe {
public:
    explicit ByteLevelBpe(Definition definition);
    std::string decode(std::span<const int32_t> ids, SkipSpecial skip) const override;

private:
    std::string spelled_piece(std::string_view piece) const override;
    std::vector<int32_t> symbols(std::string_view piece) const override;
    std::vector<int32_t> alphabet_ids() const override;

    std::array<std::vector<int32_t>, 256> byte_ids_;  // none: the vocabulary lacks the byte
};

}  // namespace espalier::tokenizer
