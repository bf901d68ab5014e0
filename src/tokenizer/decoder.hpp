// The decoder of a tokenizer.json whose vocabulary is of characters.
#pragma once

#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// What becomes of tokens when the steps, one after the other, have changed them, in one text. As the
/// decoders of huggingface/tokenizers do it, which are named alike.
std::string decoded(std::vector<std::string> tokens, const std::vector<DecoderStep>& steps);

/// The byte that a token such as <0x0A> names.
std::optional<unsigned char> named_byte(std::string_view token);

/// The token that names a byte.
std::string byte_token(unsigned char byte);

}  // namespace espalier::tokenizer
