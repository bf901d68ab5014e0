#include "src/tokenizer/wire_format.hpp"

#include <bit>

#include "src/core/error.hpp"

namespace espalier::tokenizer {
namespace {

constexpr unsigned varint_type = 0, eight_bytes = 1, length_delimited = 2, four_bytes = 5;

std::string_view take(std::string_view& from, uint64_t size) {
    ESPALIER_REQUIRE(size <= from.size(), "the SentencePiece model ends early; it is damaged");
    const std::string_view taken = from.substr(0, size);
    from.remove_prefix(size);
    return taken;
}

uint64_t take_varint(std::string_view& from) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        const auto byte = static_cast<unsigned char>(take(from, 1).front());
        if (shift == 63 && byte > 1) break;
        value |= uint64_t{byte & 0x7fU} << shift;
        if (byte < 0x80) return value;
    }
    fail("the SentencePiece model holds a number of more than 64 bits; it is damaged");
}

}  // namespace

Message& Message::number(uint32_t field, uint64_t value) {
    varint(field << 3U | varint_type);
    varint(value);
    return *this;
}

Message& Message::text(uint32_t field, std::string_view value) {
    varint(field << 3U | length_delimited);
    varint(value.size());
    bytes_ += value;
    return *this;
}

Message& Message::real(uint32_t field, float value) {
    varint(field << 3U | four_bytes);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (unsigned shift = 0; shift < 32; shift += 8) bytes_ += static_cast<char>(bits >> shift & 0xffU);
    return *this;
}

void Message::varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7U) bytes_ += static_cast<char>((value & 0x7fU) | 0x80U);
    bytes_ += static_cast<char>(value);
}

void for_each_field(std::string_view message, const std::function<void(const WireField&)>& found) {
    while (!message.empty()) {
        const uint64_t tag = take_varint(message);
        WireField field;
        field.number = tag >> 3U;
        switch (tag & 7U) {
            case varint_type:
                field.value = take_varint(message);
                break;
            case eight_bytes:
                take(message, 8);
                break;
            case length_delimited:
                field.bytes = take(message, take_varint(message));
                break;
            case four_bytes:
                take(message, 4);
                break;
            default:
                fail("the SentencePiece model has a field of an unknown type; it is damaged");
        }
        found(field);
    }
}

}  // namespace espalier::tokenizer
