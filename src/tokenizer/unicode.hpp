// UTF-8 and Unicode properties, through ICU.
#pragma once

#include <string>
#include <string_view>

#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// UserError when `text` is not UTF-8 (naming the first wrong byte) or too long for 32-bit offsets.
void require_utf8(std::string_view text, std::string_view what);

bool is_utf8(std::string_view bytes);

/// `bytes` with U+FFFD for each longest part that begins a character without ending it, or begins none.
std::string replace_invalid(std::string_view bytes);

/// Takes the next code point off the front of valid UTF-8, as a number or as it is.
char32_t pop_front(std::string_view& text);
std::string_view take_character(std::string_view& text);
int64_t count_characters(std::string_view text);

void append_utf8(std::string& text, char32_t code_point);

/// Of valid UTF-8. A word character is what regular expressions call \w (UTS #18, annex C).
bool starts_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

/// Bytes of white space at the end, at the start.
size_t trailing_space(std::string_view text);
size_t leading_space(std::string_view text);

std::string normalize(std::string_view text, Normalization form);

}  // namespace espalier::tokenizer
