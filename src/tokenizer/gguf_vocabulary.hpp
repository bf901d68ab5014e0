// The vocabulary that a GGUF file carries, as its keys tokenizer.* have it.
#pragma once

#include <map>

#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

struct GgufVocabulary {
    std::string model;  ///< tokenizer.ggml.model; "gpt2": byte-level BPE, "llama": SentencePiece
    std::string pre;    ///< tokenizer.ggml.pre, empty when the file has none
    std::vector<std::string> tokens;   ///< by id
    std::vector<int64_t> token_types;  ///< by id, or empty; 3 is control, 4 user-defined
    std::vector<std::string> merges;   ///< "left right", best first; byte-level BPE's
    std::vector<double> scores;        ///< by id, the highest is merged first; SentencePiece's
    std::optional<int64_t> bos, eos, unk, pad;
    bool add_bos = false;
    bool add_eos = false;
    bool add_space_prefix = true;  ///< SentencePiece: a text begins with a space
    std::optional<std::string> chat_template;
    std::optional<int64_t> context_length;  ///< becomes tokenizer_config.json's model_max_length
};

inline bool is_sentencepiece(const GgufVocabulary& vocabulary) {
    return vocabulary.model == "llama";
}

/// The files of a Hugging Face folder that say the same: tokenizer.json, for SentencePiece tokenizer.model
/// too, and tokenizer_config.json. UserError names a tokenizer.ggml.model or .pre that is not supported, and
/// those that are, or what is damaged.
std::map<std::string, std::string> files_of(const GgufVocabulary& vocabulary);

/// `id`, or UserError where it has no token; `key` is its name after "tokenizer.ggml.".
std::optional<int32_t> checked_id(std::optional<int64_t> id, const char* key,
                                  const GgufVocabulary& vocabulary);

/// All four, checked.
SpecialIds special_ids(const GgufVocabulary& vocabulary);

/// The tokens that the file puts before and after a text = those of definition.special. UserError where it
/// adds one that it does not have.
void set_ends(const GgufVocabulary& vocabulary, Definition& definition);

/// The merges that the file lists. UserError where one is not two tokens.
std::vector<std::pair<std::string, std::string>> listed_merges(const GgufVocabulary& vocabulary);

/// The tokenizer that transformers 5 makes of the same file (integrations/gguf/gguf_tokenizer_mapping.py):
/// that is what other programs compare with, and in places it is not the model's own. For `smollm` it splits
/// as GPT-2 does, where SmolLM's tokenizer.json takes digits apart first ("a  1" differs); for `llama-bpe` a
/// whole word is merged, not looked up; for `qwen2` nothing is normalised to NFC. Who wants the model's own
/// ids gives its tokenizer.json.
/// Of byte-level BPE only. UserError as files_of.
Definition definition_of(const GgufVocabulary& vocabulary);

}  // namespace espalier::tokenizer
