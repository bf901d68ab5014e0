// Text <-> ids: BPE as Hugging Face's `tokenizers` does it, and SentencePiece models.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::tokenizer {

struct FolderFiles;
struct GgufVocabulary;
class Backend;

/// Whether encode() puts the beginning-of-text and end-of-text tokens around the ids, where the tokenizer's
/// post-processor says so, or add_bos_token and add_eos_token of the tokenizer_config.json beside a
/// SentencePiece model.
enum class Special { add, none };
enum class SkipSpecial { yes, no };

struct SpecialIds {
    std::optional<int32_t> bos, eos, unk, pad;
};

/// Immutable; copies share the vocabulary. Every member may be called from several threads at once.
class Tokenizer {
public:
    /// A tokenizer.json: BPE of bytes or, as SentencePiece models become, of characters, with the ids of
    /// Hugging Face `tokenizers`. Its truncation and padding are not applied. `tokenizer_config_json`, where
    /// the model has one, names bos, eos, unk, pad and the chat template; without it bos() and its like know
    /// nothing. UserError names a component that is not supported and those that are.
    static Tokenizer from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json = {});

    /// The tokenizer of a GGUF file, with the ids that transformers gives for the same file (but see
    /// sentencepiece_definition).
    static Tokenizer from_gguf(const GgufVocabulary& vocabulary);

    /// The bytes of a SentencePiece `.model`, read by libsentencepiece, whose ids these are: special tokens
    /// that stand in a text are text.
    static Tokenizer from_sentencepiece(std::string_view model);

    /// A `.model` in a Hugging Face folder, with the ids of transformers' LlamaTokenizer: added tokens are
    /// found in a text, and a space stands before it if it begins with none. Of a unigram model, or one with
    /// a normalisation of its own, what stands between added tokens is libsentencepiece's.
    static Tokenizer from_sentencepiece(std::string_view model, const FolderFiles& files);

    /// UserError with the position when the text is not UTF-8, or holds 2 GiB or more. A byte that the
    /// vocabulary has no token for, and no unknown token to stand in, has no id (SmolLM2 lacks six control
    /// characters); that too is as in `tokenizers`.
    std::vector<int32_t> encode(std::string_view utf8, Special special) const;

    /// Always UTF-8: bytes that form no character, as when a character's tokens were cut apart, become
    /// U+FFFD. Ids without a token (a padded vocabulary has some) decode to nothing.
    std::string decode(std::span<const int32_t> ids, SkipSpecial skip) const;

    /// One more than the largest id.
    int64_t vocab_size() const;
    const SpecialIds& special_ids() const;
    std::optional<int32_t> bos() const { return special_ids().bos; }
    std::optional<int32_t> eos() const { return special_ids().eos; }
    std::optional<int32_t> unk() const { return special_ids().unk; }
    std::optional<int32_t> pad() const { return special_ids().pad; }

    /// Tokens as the vocabulary spells them: " the" is "Ġthe" in one of bytes, "▁the" in one of characters.
    std::optional<std::string> token(int32_t id) const;
    std::optional<int32_t> id(std::string_view token) const;

    /// Ids that the vocabulary makes of text by itself, ascending: bytes and what merges make of them, or
    /// SentencePiece's pieces. No control, added or unused tokens, whose names differ between editions of one
    /// tokenizer.
    std::vector<int32_t> text_ids() const;

    /// A tokenizer.json and a tokenizer_config.json that `tokenizers` and AutoTokenizer load, with the same
    /// ids. UserError for a SentencePiece model that libsentencepiece reads, whose own file is what other
    /// programs read.
    std::string to_json() const;
    std::string config_json() const;

private:
    explicit Tokenizer(std::shared_ptr<const Backend> backend) : backend_(std::move(backend)) {}
    std::shared_ptr<const Backend> backend_;
};

}  // namespace espalier::tokenizer
