// SentencePiece models, through libsentencepiece.
#pragma once

#include "src/tokenizer/backend.hpp"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace espalier::tokenizer {

class SentencePieceBackend final : public Backend {
public:
    SentencePieceBackend(std::string_view model, std::string_view tokenizer_config_json);
    ~SentencePieceBackend() override;

    std::vector<int32_t> encode(std::string_view utf8, Special special) const override;
    std::string decode(std::span<const int32_t> ids, SkipSpecial skip) const override;
    int64_t vocab_size() const override;
    const SpecialIds& special_ids() const override { return special_; }
    std::optional<std::string> token(int32_t id) const override;
    std::optional<int32_t> id(std::string_view token) const override;
    std::vector<int32_t> text_ids() const override;
    std::string to_json() const override;
    std::string config_json() const override;

private:
    void apply_config(std::string_view tokenizer_config_json);

    std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
    SpecialIds special_;
    std::vector<int32_t> before_, after_;  ///< ids that Special::add puts around a text
};

}  // namespace espalier::tokenizer
