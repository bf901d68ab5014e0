// The spelling of bytes in byte-level vocabularies: one printable character for each byte.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace espalier::tokenizer {

/// The character that stands for a byte, in UTF-8: printable Latin-1 for itself, the others, in order, from
/// U+0100 on (openai/gpt-2, encoder.py, bytes_to_unicode). So a space is "Ġ".
const std::string& spelled(unsigned char byte);

/// `bytes`, each one spelled.
std::string spell(std::string_view bytes);

/// The bytes that a token spells; nothing when one of its characters stands for none.
std::optional<std::string> unspell(std::string_view token);

}  // namespace espalier::tokenizer
