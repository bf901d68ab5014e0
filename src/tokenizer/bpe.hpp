// BPE tokenizers: added tokens, normaliser, pre-tokenizer, merges, post-processor, in this order.
#pragma once

#include <mutex>

#include "src/tokenizer/added_tokens.hpp"
#include "src/tokenizer/backend.hpp"
#include "src/tokenizer/definition.hpp"
#include "src/tokenizer/merges.hpp"
#include "src/tokenizer/piece_cache.hpp"
#include "src/tokenizer/pre_tokenizer.hpp"

namespace espalier::tokenizer {

/// What does not depend on the alphabet that merges begin with.
class Bpe : public Backend {
public:
    std::vector<int32_t> encode(std::string_view utf8, Special special) const override;
    int64_t vocab_size() const override { return vocab_size_; }
    const SpecialIds& special_ids() const override { return definition_.special; }
    std::optional<std::string> token(int32_t id) const override;
    std::optional<int32_t> id(std::string_view token) const override;
    std::vector<int32_t> text_ids() const override;
    std::string to_json() const override;
    std::string config_json() const override;

protected:
    explicit Bpe(Definition definition);

    const Definition& definition() const { return definition_; }
    std::optional<int32_t> unk_id() const { return unk_id_; }
    const AddedToken* added_token(int32_t id) const;
    std::string normalized_text(std::string_view text) const;

private:
    /// The token that a whole piece would be.
    virtual std::string spelled_piece(std::string_view piece) const = 0;
    /// What merges of a piece begin with.
    virtual std::vector<int32_t> symbols(std::string_view piece) const = 0;
    /// All that symbols may give, but for the unknown token.
    virtual std::vector<int32_t> alphabet_ids() const = 0;

    void index_tokens();
    void index_unknown();
    AddedTokenFinder finder(bool of_normalized) const;

    void encode_text(std::string_view text, Place place, PieceCache& cache, std::vector<int32_t>& ids) const;
    void encode_piece(std::string_view piece, PieceCache& cache, std::vector<int32_t>& ids) const;

    Definition definition_;
    int64_t vocab_size_ = 0;
    std::unordered_map<int32_t, std::string_view> token_of_;         // into definition_
    std::unordered_map<int32_t, const AddedToken*> added_token_of_;  // into definition_
    IdOfToken added_id_of_;

    std::optional<int32_t> unk_id_;
    AddedTokenFinder raw_finder_;
    AddedTokenFinder normalized_finder_;
    PreTokenizer pre_tokenizer_;
    MergeTable merges_;

    // Whoever comes first may use the lasting cache; results do not depend on it.
    mutable std::mutex cache_mutex_;
    mutable PieceCache cache_;
};

/// The tokenizer of a definition, by its alphabet.
std::shared_ptr<const Backend> make_bpe(Definition definition);

}  // namespace espalier::tokenizer
