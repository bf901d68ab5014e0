#include "src/tokenizer/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cctype>

#include "src/core/error.hpp"

namespace espalier::tokenizer {
namespace {

constexpr size_t longest_pattern = 64 * 1024;

std::string message_of(int error) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(error, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

struct FreeMatchData {
    void operator()(pcre2_match_data* data) const noexcept { pcre2_match_data_free(data); }
};

// What follows a backslash, rewritten. \s alone is not the same: PCRE2 counts U+180E as space.
std::string escape_for_pcre2(char letter, std::string_view pattern) {
    constexpr std::string_view shared = "pPdDrntfaexAz0";
    if (letter == 's') return R"(\p{White_Space})";
    if (letter == 'S') return R"(\P{White_Space})";
    const bool same =
        !std::isalnum(static_cast<unsigned char>(letter)) || shared.find(letter) != std::string_view::npos;
    ESPALIER_REQUIRE(same,
                     "pattern '{}': \\{} is not supported; supported: \\s \\S \\d \\D \\p{{...}} \\P{{...}} "
                     "and characters",
                     pattern, letter);
    return {'\\', letter};
}

}  // namespace

void Regex::FreeCode::operator()(pcre2_real_code_8* code) const noexcept {
    pcre2_code_free(code);
}

std::string for_pcre2(std::string_view pattern) {
    std::string result;
    bool in_class = false;
    for (size_t i = 0; i < pattern.size(); ++i) {
        const char c = pattern[i];
        const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
        if (c == '\\') {
            ESPALIER_REQUIRE(i + 1 < pattern.size(), "pattern '{}' ends in a backslash", pattern);
            result += escape_for_pcre2(next, pattern);
            ++i;
            continue;
        }
        // Oniguruma has classes in classes, and their intersections.
        ESPALIER_REQUIRE(
            !in_class || (c != '[' && !(c == '&' && next == '&')),
            "pattern '{}': '{}' inside [...] is not supported; write it with a backslash where it "
            "means itself",
            pattern, c);
        ESPALIER_REQUIRE(in_class || c != '(' || next != '*', "pattern '{}': (* is not supported", pattern);
        if (c == '[') in_class = true;
        if (c == ']') in_class = false;
        result += c;
    }
    return result;
}

std::string literal_pattern(std::string_view text) {
    std::string pattern;
    for (const char c : text) {
        if (std::ispunct(static_cast<unsigned char>(c))) pattern += '\\';
        pattern += c;
    }
    return pattern;
}

Regex::Regex(const std::string& pattern) : pattern_(pattern) {
    ESPALIER_REQUIRE(pattern.size() <= longest_pattern,
                     "a pattern of {} bytes is longer than the {} supported", pattern.size(),
                     longest_pattern);
    const std::string translated = for_pcre2(pattern);
    int error = 0;
    size_t offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                              &offset, nullptr));
    ESPALIER_REQUIRE(code_ != nullptr, "pattern '{}': {} (at {} of '{}')", pattern, message_of(error), offset,
                     translated);
    // Without a JIT for this processor PCRE2 interprets, slower and with the same result.
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
}

void Regex::find_all(std::string_view text, const std::function<void(size_t, size_t)>& found) const {
    const std::unique_ptr<pcre2_match_data, FreeMatchData> match(pcre2_match_data_create(1, nullptr));
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    size_t last = std::string_view::npos;
    for (size_t from = 0; from <= text.size();) {
        int status =
            pcre2_match(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, match.get(), nullptr);
        if (status == PCRE2_ERROR_JIT_STACKLIMIT) {
            status = pcre2_match(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                                 match.get(), nullptr);
        }
        if (status == PCRE2_ERROR_NOMATCH) return;
        ESPALIER_REQUIRE(status >= 0, "pattern '{}' cannot be run on a text of {} bytes: {}", pattern_,
                         text.size(), message_of(status));
        const size_t begin = pcre2_get_ovector_pointer(match.get())[0];
        const size_t end = pcre2_get_ovector_pointer(match.get())[1];
        ESPALIER_REQUIRE(begin <= end && begin >= from, "pattern '{}' moves a match's start with \\K",
                         pattern_);
        if (begin == end && begin == last) {
            do ++from;
            while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80);
            continue;
        }
        found(begin, end);
        from = last = end;
    }
}

}  // namespace espalier::tokenizer
