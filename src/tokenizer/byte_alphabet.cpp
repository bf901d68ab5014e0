#include "src/tokenizer/byte_alphabet.hpp"

#include <array>

#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

constexpr int alphabet_end = 0x144;  // one past the last character that stands for a byte

struct Alphabet {
    std::array<std::string, 256> character;
    std::array<int, alphabet_end> byte;

    Alphabet() {
        byte.fill(-1);
        char32_t next = 0x100;
        for (int b = 0; b < 256; ++b) {
            const bool printable =
                ('!' <= b && b <= '~') || (0xA1 <= b && b <= 0xAC) || (0xAE <= b && b <= 0xFF);
            const char32_t c = printable ? static_cast<char32_t>(b) : next++;
            append_utf8(character[b], c);
            byte[c] = b;
        }
    }
};

const Alphabet& alphabet() {
    static const Alphabet instance;
    return instance;
}

}  // namespace

const std::string& spelled(unsigned char byte) {
    return alphabet().character[byte];
}

std::string spell(std::string_view bytes) {
    std::string token;
    for (const char byte : bytes) token += spelled(static_cast<unsigned char>(byte));
    return token;
}

std::optional<std::string> unspell(std::string_view token) {
    std::string bytes;
    while (!token.empty()) {
        const char32_t c = pop_front(token);
        if (c >= alphabet_end || alphabet().byte[c] < 0) return std::nullopt;
        bytes += static_cast<char>(alphabet().byte[c]);
    }
    return bytes;
}

}  // namespace espalier::tokenizer
