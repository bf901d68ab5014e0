// The SentencePiece model that a GGUF file was made of, written again.
#pragma once

#include "src/tokenizer/gguf_vocabulary.hpp"

namespace espalier::tokenizer {

/// A vocabulary of the kind "llama" as the bytes of a tokenizer.model: BPE by scores, bytes for what no piece
/// spells, no normalisation, spaces as U+2581. llama.cpp's converter copies pieces, scores and types out of
/// such a file (convert_hf_to_gguf.py, _create_vocab_sentencepiece), and types have the numbers of
/// sentencepiece_model.proto. UserError where lists differ in length, or scores are no numbers or all alike:
/// a converter that knew none wrote a placeholder, and no order of merges can be told from it.
/// transformers 5 differs where it reads the GGUF itself: it adds no space before a text that begins with
/// one, and takes special tokens that are spelled in a text for themselves.
std::string sentencepiece_model(const GgufVocabulary& vocabulary);

/// The tokenizer_config.json beside it: names of special tokens, whether bos and eos are added, the chat
/// template. UserError where an id has no token.
std::string sentencepiece_config(const GgufVocabulary& vocabulary);

}  // namespace espalier::tokenizer
