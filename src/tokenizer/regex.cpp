#include "src/tokenizer/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cctype>
#include <utility>
#include <vector>

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

/// In UTF-8.
bool continues_character(char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// A pattern on its way from Oniguruma, in the syntax of Ruby that tokenizers uses, to PCRE2.
class Translation {
public:
    explicit Translation(std::string_view pattern) : pattern_(pattern) {}

    std::string result() {
        while (at_ < pattern_.size()) step();
        return std::move(out_);
    }

private:
    char peek(size_t ahead) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
    void copy(size_t count) {
        out_ += pattern_.substr(at_, count);
        at_ += count;
    }

    void step() {
        const char c = pattern_[at_];
        if (c == '\\') {
            begin_atom();
            return escape();
        }
        if (in_class_) return inside_class(c);
        if (c == '{') return braces();
        if (c == '(') return open_group();
        if (c == ')' && !groups_.empty()) {
            atom_ = groups_.back();
            groups_.pop_back();
        } else if (c != '*' && c != '+' && c != '?' && !continues_character(c)) {
            begin_atom();
        }
        in_class_ = c == '[';
        copy(1);
    }

    /// What a quantifier that comes next would repeat.
    void begin_atom() {
        if (!in_class_) atom_ = out_.size();
    }

    /// \s alone is not the same: PCRE2 counts U+180E as space.
    void escape() {
        constexpr std::string_view shared = "pPdDrntfaexAz0";
        ESPALIER_REQUIRE(at_ + 1 < pattern_.size(), "pattern '{}' ends in a backslash", pattern_);
        const char letter = peek(1);
        if (letter == 's' || letter == 'S') {
            out_ += letter == 's' ? R"(\p{White_Space})" : R"(\P{White_Space})";
            at_ += 2;
            return;
        }
        const bool same = !std::isalnum(static_cast<unsigned char>(letter)) ||
                          shared.find(letter) != std::string_view::npos;
        ESPALIER_REQUIRE(
            same,
            "pattern '{}': \\{} is not supported; supported: \\s \\S \\d \\D \\p{{...}} \\P{{...}} "
            "and characters",
            pattern_, letter);
        copy(2);
        const size_t end = pattern_.find('}', at_);
        const bool named = (letter == 'p' || letter == 'P') && peek(0) == '{';
        if (named && end != std::string_view::npos) copy(end + 1 - at_);
    }

    void inside_class(char c) {
        // Oniguruma has classes in classes, and their intersections.
        ESPALIER_REQUIRE(
            c != '[' && !(c == '&' && peek(1) == '&'),
            "pattern '{}': '{}' inside [...] is not supported; write it with a backslash where it "
            "means itself",
            pattern_, c);
        in_class_ = c != ']';
        copy(1);
    }

    void open_group() {
        ESPALIER_REQUIRE(peek(1) != '*', "pattern '{}': (* is not supported", pattern_);
        groups_.push_back(out_.size());
        copy(1);
        if (peek(0) == '?') options();
    }

    /// (?imx-imx) and (?imx-imx:...): Ruby's m has . match line breaks, which is PCRE2's s.
    void options() {
        const size_t end = pattern_.find_first_not_of("imsx-", at_ + 1);
        if (end == at_ + 1 || end == std::string_view::npos || (pattern_[end] != ')' && pattern_[end] != ':'))
            return;  // no options: a group of another kind
        for (const char option : pattern_.substr(at_, end - at_)) {
            ESPALIER_REQUIRE(option != 's', "pattern '{}': the option (?s) is not supported; (?m) is",
                             pattern_);
            out_ += option == 'm' ? 's' : option;
        }
        at_ = end;
    }

    /// {n}, {n,}, {n,m}, and {,m} from 0 on, which PCRE2 would take for text. What follows them with + is
    /// repeated once more, where PCRE2 would not go back into it; so is {n} with ?.
    void braces() {
        const size_t end = pattern_.find('}', at_);
        const std::string_view inside =
            end == std::string_view::npos ? "" : pattern_.substr(at_ + 1, end - at_ - 1);
        const size_t comma = inside.find(',');
        const bool counts = inside.find_first_not_of("0123456789,") == std::string_view::npos &&
                            inside.rfind(',') == comma && inside.size() > (comma == 0 ? 1 : 0);
        if (!counts) {
            begin_atom();
            return copy(1);
        }
        out_ += comma == 0 ? fmt::format("{{0{}}}", inside) : fmt::format("{{{}}}", inside);
        at_ = end + 1;
        if (peek(0) != '+' && !(peek(0) == '?' && comma == std::string_view::npos)) return;
        out_.insert(atom_, "(?:");
        out_ += ')';
    }

    std::string_view pattern_;
    size_t at_ = 0;
    std::string out_;
    size_t atom_ = 0;  ///< where the last thing that can be repeated begins in out_
    std::vector<size_t> groups_;
    bool in_class_ = false;
};

}  // namespace

void Regex::FreeCode::operator()(pcre2_real_code_8* code) const noexcept {
    pcre2_code_free(code);
}

std::string for_pcre2(std::string_view pattern) {
    return Translation(pattern).result();
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
            while (from < text.size() && continues_character(text[from]));
            continue;
        }
        found(begin, end);
        from = last = end;
    }
}

}  // namespace espalier::tokenizer
