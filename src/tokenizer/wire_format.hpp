// Messages of Protocol Buffers as bytes (protobuf.dev/programming-guides/encoding).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace espalier::tokenizer {

/// A message that is written.
class Message {
public:
    Message& number(uint32_t field, uint64_t value);
    Message& text(uint32_t field, std::string_view value);
    Message& real(uint32_t field, float value);
    const std::string& bytes() const { return bytes_; }

private:
    void varint(uint64_t value);
    std::string bytes_;
};

/// A field that is read: a number, or bytes, which may be a message again.
struct WireField {
    uint64_t number = 0;  ///< the field's, not its value
    uint64_t value = 0;
    std::string_view bytes;
};

/// Calls `found` for each field of a message, in the order of the bytes. UserError where they are no message.
void for_each_field(std::string_view message, const std::function<void(const WireField&)>& found);

}  // namespace espalier::tokenizer
