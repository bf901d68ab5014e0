// What a SentencePiece vocabulary is in Hugging Face's hands: characters, merges, added tokens.
#pragma once

#include <memory>

#include "src/tokenizer/definition.hpp"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace espalier::tokenizer {

/// As sentencepiece_model.proto numbers the types of pieces.
constexpr int64_t normal_piece = 1, control_piece = 3, user_defined_piece = 4, byte_piece = 6;

struct SentencePieceVocabulary {
    std::vector<std::string> pieces;  ///< by id
    std::vector<int64_t> types;       ///< by id
    SpecialIds special;
    bool dummy_prefix = true;  ///< a text begins with a space
    bool bpe = false;          ///< and no unigram model
    bool normalizes = false;   ///< a text's characters are replaced before anything else
};

/// UserError where the bytes are no model.
std::shared_ptr<const sentencepiece::SentencePieceProcessor> load_sentencepiece(std::string_view model);

SpecialIds special_ids(const sentencepiece::SentencePieceProcessor& processor);

/// UserError where a piece is not UTF-8.
SentencePieceVocabulary read_vocabulary(const sentencepiece::SentencePieceProcessor& processor);

/// All of the tokenizer but its merges, as transformers 5 has it (models/llama/tokenization_llama.py): a
/// space before a text that begins with none, control and user-defined pieces and special tokens found in it.
Definition definition_of(const SentencePieceVocabulary& vocabulary);

using Merges = std::vector<std::pair<std::string, std::string>>;

/// Every way to make a piece of two others. transformers ranks them by the id of what they make, shorter left
/// ones first, or, out of a GGUF file, by its score, longer left ones first (generate_merges of
/// tokenization_utils_base.py).
Merges merges_by_id(const std::vector<std::string>& pieces);
Merges merges_by_score(const std::vector<std::string>& pieces, const std::vector<double>& scores);

/// Null: none has the content.
AddedToken* find_added_token(std::string_view content, Definition& definition);

/// Adds a token, or puts it in the place of the one with its content.
void put_added_token(AddedToken token, Definition& definition);

/// The scheme, and the decoder that takes the space away again.
void set_prefix(PrependScheme scheme, Definition& definition);

}  // namespace espalier::tokenizer
