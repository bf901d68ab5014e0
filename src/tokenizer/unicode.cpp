#include "src/tokenizer/unicode.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <limits>

#include "src/core/error.hpp"

namespace espalier::tokenizer {
namespace {

// ICU's macros want 32-bit indices; -1 for bytes that are no character.
UChar32 code_point_at(std::string_view text, int32_t& at) {
    UChar32 c = 0;
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    const auto size = static_cast<int32_t>(text.size());
    U8_NEXT(bytes, at, size, c);
    return c;
}

UChar32 code_point_before(std::string_view text, int32_t& at) {
    UChar32 c = 0;
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    U8_PREV(bytes, 0, at, c);
    return c;
}

bool is_word(UChar32 c) {
    return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL) ||
           (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0;
}

const icu::Normalizer2& normalizer(Normalization form) {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* found = nullptr;
    switch (form) {
        case Normalization::nfc:
            found = icu::Normalizer2::getNFCInstance(status);
            break;
        case Normalization::nfd:
            found = icu::Normalizer2::getNFDInstance(status);
            break;
        case Normalization::nfkc:
            found = icu::Normalizer2::getNFKCInstance(status);
            break;
        case Normalization::nfkd:
            found = icu::Normalizer2::getNFKDInstance(status);
            break;
    }
    if (U_FAILURE(status)) throw InternalError(fmt::format("ICU: {}", u_errorName(status)));
    return *found;
}

}  // namespace

void require_utf8(std::string_view text, std::string_view what) {
    ESPALIER_REQUIRE(text.size() < std::numeric_limits<int32_t>::max(),
                     "{} has {} bytes, and a text must stay below 2 GiB; cut it into several", what,
                     text.size());
    for (int32_t at = 0; at < static_cast<int32_t>(text.size());) {
        if (static_cast<uint8_t>(text[at]) < 0x80) {
            ++at;
            continue;
        }
        const int32_t start = at;
        ESPALIER_REQUIRE(code_point_at(text, at) >= 0,
                         "{} is not UTF-8: byte 0x{:02x} at offset {}; convert it first", what,
                         static_cast<uint8_t>(text[start]), start);
    }
}

bool is_utf8(std::string_view bytes) {
    for (int32_t at = 0; at < static_cast<int32_t>(bytes.size());) {
        if (code_point_at(bytes, at) < 0) return false;
    }
    return true;
}

std::string replace_invalid(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    for (int32_t at = 0; at < static_cast<int32_t>(bytes.size());) {
        const int32_t start = at;
        if (code_point_at(bytes, at) >= 0) {
            text.append(bytes, start, at - start);
        } else {
            text += "\xEF\xBF\xBD";
        }
    }
    return text;
}

char32_t pop_front(std::string_view& text) {
    int32_t at = 0;
    const UChar32 c = code_point_at(text.substr(0, U8_MAX_LENGTH), at);
    text.remove_prefix(at);
    return static_cast<char32_t>(c);
}

std::string_view take_character(std::string_view& text) {
    const std::string_view before = text;
    pop_front(text);
    return before.substr(0, before.size() - text.size());
}

int64_t count_characters(std::string_view text) {
    return std::count_if(text.begin(), text.end(), [](char byte) { return !U8_IS_TRAIL(byte); });
}

void append_utf8(std::string& text, char32_t code_point) {
    std::array<char, U8_MAX_LENGTH> bytes;
    int32_t size = 0;
    U8_APPEND_UNSAFE(bytes, size, code_point);
    text.append(bytes.data(), size);
}

bool starts_with_word(std::string_view text) {
    int32_t at = 0;
    return !text.empty() && is_word(code_point_at(text, at));
}

bool ends_with_word(std::string_view text) {
    auto at = static_cast<int32_t>(text.size());
    return !text.empty() && is_word(code_point_before(text, at));
}

size_t trailing_space(std::string_view text) {
    auto at = static_cast<int32_t>(text.size());
    for (int32_t before = at; before > 0; at = before) {
        if (!u_isUWhiteSpace(code_point_before(text, before))) break;
    }
    return text.size() - at;
}

size_t leading_space(std::string_view text) {
    int32_t at = 0;
    for (int32_t after = 0; after < static_cast<int32_t>(text.size()); at = after) {
        if (!u_isUWhiteSpace(code_point_at(text, after))) break;
    }
    return at;
}

std::string normalize(std::string_view text, Normalization form) {
    UErrorCode status = U_ZERO_ERROR;
    std::string result;
    icu::StringByteSink<std::string> sink(&result);
    const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
    normalizer(form).normalizeUTF8(0, piece, sink, nullptr, status);
    if (U_FAILURE(status)) throw InternalError(fmt::format("ICU: {}", u_errorName(status)));
    return result;
}

}  // namespace espalier::tokenizer
