// SentencePiece models, through libsentencepiece.
#pragma once

#include "src/tokenizer/added_tokens.hpp"
#include "src/tokenizer/backend.hpp"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace espalier::tokenizer {

class SentencePieceBackend final : public Backend {
public:
    using Processor = std::shared_ptr<const sentencepiece::SentencePieceProcessor>;

    /// The model alone: what stands in a text is text.
    explicit SentencePieceBackend(Processor processor);
    /// Takes of `definition` added tokens, special ones, and what stands around a text. What is between added
    /// tokens is encoded as a text of its own.
    SentencePieceBackend(Processor processor, Definition definition);

    std::vector<int32_t> encode(std::string_view utf8, Special special) const override;
    std::string decode(std::span<const int32_t> ids, SkipSpecial skip) const override;
    int64_t vocab_size() const override { return vocab_size_; }
    const SpecialIds& special_ids() const override { return definition_.special; }
    std::optional<std::string> token(int32_t id) const override;
    std::optional<int32_t> id(std::string_view token) const override;
    std::vector<int32_t> text_ids() const override;
    std::string to_json() const override;
    std::string config_json() const override;

private:
    const AddedToken* added_token(int32_t id) const;
    bool is_piece(int32_t id) const;

    Processor processor_;
    Definition definition_;
    AddedTokenFinder finder_;
    int64_t vocab_size_ = 0;
};

}  // namespace espalier::tokenizer
