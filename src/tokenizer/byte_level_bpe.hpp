// Byte-level BPE: added tokens, normaliser, pre-tokenizer, merges, post-processor, in this order.
#pragma once

#include <array>
#include <mutex>

#include "src/tokenizer/added_tokens.hpp"
#include "src/tokenizer/backend.hpp"
#include "src/tokenizer/definition.hpp"
#include "src/tokenizer/merges.hpp"
#include "src/tokenizer/piece_cache.hpp"
#include "src/tokenizer/pre_tokenizer.hpp"

namespace espalier::tokenizer {

class ByteLevelBpe final : public Backend {
public:
    explicit ByteLevelBpe(Definition definition);

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
    void index_tokens();
    void index_bytes();
    void index_merges();
    AddedTokenFinder finder(bool normalized) const;
    std::string normalized(std::string_view text) const;

    void encode_text(std::string_view text, PieceCache& cache, std::vector<int32_t>& ids) const;
    void encode_piece(std::string_view piece, PieceCache& cache, std::vector<int32_t>& ids) const;
    std::vector<int32_t> symbols(std::string_view piece) const;

    Definition definition_;
    int64_t vocab_size_ = 0;
    std::unordered_map<int32_t, std::string_view> token_of_;         // into definition_
    std::unordered_map<int32_t, const AddedToken*> added_token_of_;  // into definition_
    IdOfToken added_id_of_;

    std::array<std::vector<int32_t>, 256> byte_ids_;  // none: the vocabulary lacks the byte
    std::optional<int32_t> unk_id_;
    MergeTable merges_;
    AddedTokenFinder raw_finder_;
    AddedTokenFinder normalized_finder_;
    PreTokenizer pre_tokenizer_;

    // Whoever comes first may use the lasting cache; results do not depend on it.
    mutable std::mutex cache_mutex_;
    mutable PieceCache cache_;
};

}  // namespace espalier::tokenizer
