// The SentencePiece model that a GGUF file was made of, written again.
#pragma once

#include "src/tokenizer/gguf_vocabulary.hpp"

namespace espalier::tokenizer {

/// A vocabulary of the kind "llama" as the bytes of a tokenizer.model: BPE by scores, bytes for what no piece
/// spells, no normalisation, spaces as U+2581. llama.cpp's converter copies pieces, scores and types out of
/// such a file (convert_hf_to_gguf.py, _create_vocab_sentencepiece), and types have the numbers of
/// sentencepiece_model.proto. UserError where lists differ in length, or scores are no numbers or all alike:
/// a converter that knew none wrote a placeholder, and no order of merges can be told from it.
std::string sentencepiece_model(const GgufVocabulary& vocabulary);

/// The tokenizer that transformers 5 makes of the same file (integrations/gguf/gguf_tokenizer_mapping.py):
/// merges by scores, unless the file lists them. UserError as sentencepiece_model, and where no
/// tokenizer.model could be made of it.
Definition sentencepiece_definition(const GgufVocabulary& vocabulary);

/// The tokenizer_config.json beside it: names of special tokens, whether bos and eos are added, the chat
/// template. UserError where an id has no token.
std::string sentencepiece_config(const GgufVocabulary& vocabulary);

}  // namespace espalier::tokenizer
