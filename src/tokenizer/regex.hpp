// Regular expressions of tokenizer.json, which are written for Oniguruma, run by PCRE2.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace espalier::tokenizer {

class Regex {
public:
    /// UserError when the pattern has an error, or says something that PCRE2 would understand otherwise.
    /// Unicode properties are those of PCRE2's tables, Unicode 14 in PCRE2 10.42.
    explicit Regex(const std::string& pattern);

    /// Calls found(begin, end) for every match in valid UTF-8, left to right, none overlapping; an empty
    /// match right behind another is none.
    void find_all(std::string_view text, const std::function<void(size_t begin, size_t end)>& found) const;

private:
    struct FreeCode {
        void operator()(pcre2_real_code_8* code) const noexcept;
    };
    std::string pattern_;
    std::unique_ptr<pcre2_real_code_8, FreeCode> code_;
};

/// The pattern that means to PCRE2 what `pattern` means to Oniguruma.
std::string for_pcre2(std::string_view pattern);

/// A pattern that matches `text` and nothing else.
std::string literal_pattern(std::string_view text);

}  // namespace espalier::tokenizer
