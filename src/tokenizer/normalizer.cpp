#include "src/tokenizer/normalizer.hpp"

#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {

std::string replaced(std::string_view text, const Replace& replace) {
    std::string out;
    out.reserve(text.size());
    size_t done = 0;
    for (size_t at = text.find(replace.pattern); at != std::string_view::npos;
         at = text.find(replace.pattern, done)) {
        out.append(text, done, at - done).append(replace.content);
        done = at + replace.pattern.size();
    }
    return out.append(text, done);
}

std::string normalized(std::string_view text, const NormalizerStep& step) {
    if (const auto* form = std::get_if<Normalization>(&step)) return normalize(text, *form);
    if (const auto* replace = std::get_if<Replace>(&step)) return replaced(text, *replace);
    return text.empty() ? std::string() : std::get<Prepend>(step).text + std::string(text);
}

}  // namespace espalier::tokenizer
