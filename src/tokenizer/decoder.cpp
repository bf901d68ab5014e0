#include "src/tokenizer/decoder.hpp"

#include <fmt/core.h>

#include <charconv>

#include "src/tokenizer/normalizer.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

using Tokens = std::vector<std::string>;

void apply(const Replace& replace, Tokens& tokens) {
    for (std::string& token : tokens) token = replaced(token, replace);
}

/// Neighbouring bytes are one text, or, where they are no UTF-8, each a U+FFFD.
void apply(const ByteFallback&, Tokens& tokens) {
    Tokens out;
    std::string bytes;
    const auto flush = [&] {
        if (is_utf8(bytes)) {
            if (!bytes.empty()) out.push_back(bytes);
        } else {
            out.insert(out.end(), bytes.size(), "\uFFFD");
        }
        bytes.clear();
    };
    for (std::string& token : tokens) {
        if (const auto byte = named_byte(token)) {
            bytes += static_cast<char>(*byte);
        } else {
            flush();
            out.push_back(std::move(token));
        }
    }
    flush();
    tokens = std::move(out);
}

void apply(const Fuse&, Tokens& tokens) {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens = {std::move(all)};
}

void apply(const Strip& strip, Tokens& tokens) {
    for (std::string& token : tokens) {
        std::string_view rest = token;
        for (int64_t i = 0; i < strip.start && rest.starts_with(strip.content); ++i)
            rest.remove_prefix(strip.content.size());
        for (int64_t i = 0; i < strip.stop && rest.ends_with(strip.content); ++i)
            rest.remove_suffix(strip.content.size());
        token = std::string(rest);
    }
}

void apply(const Metaspace& metaspace, Tokens& tokens) {
    const bool begins_with_space = metaspace.prepend_scheme != PrependScheme::never;
    for (size_t i = 0; i < tokens.size(); ++i) {
        const char* space = i == 0 && begins_with_space ? "" : " ";
        tokens[i] = replaced(tokens[i], {metaspace.replacement, space});
    }
}

}  // namespace

std::string decoded(Tokens tokens, const std::vector<DecoderStep>& steps) {
    for (const DecoderStep& step : steps) {
        std::visit([&](const auto& kind) { apply(kind, tokens); }, step);
    }
    std::string text;
    for (const std::string& token : tokens) text += token;
    return text;
}

std::optional<unsigned char> named_byte(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
    const std::string_view digits = token.substr(3, 2);
    unsigned char byte = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return byte;
}

std::string byte_token(unsigned char byte) {
    return fmt::format("<0x{:02X}>", byte);
}

}  // namespace espalier::tokenizer
