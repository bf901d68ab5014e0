// Walks through the head of a GGUF file; every step is checked against the end of the file.
#pragma once

#include <cstring>
#include <string_view>

#include "io/mapped_file.hpp"
#include "src/core/error.hpp"

namespace espalier::io {

class GgufCursor {
public:
    GgufCursor(const MappedFile& file, size_t at) : file_(file), at_(at) {}

    size_t at() const { return at_; }
    uint64_t remaining() const { return file_.size() - at_; }
    const std::string& path() const { return file_.path(); }

    template <class T>
    T read() {
        T value;
        std::memcpy(&value, skip(sizeof(T)), sizeof(T));
        return value;
    }
    std::string_view text() {
        const auto length = read<uint64_t>();
        return {reinterpret_cast<const char*>(skip(length)), static_cast<size_t>(length)};
    }
    const std::byte* skip(uint64_t bytes) {
        ESPALIER_REQUIRE(bytes <= remaining(),
                         "{}: truncated or damaged: {} bytes wanted at byte {}, the file ends at {}", path(),
                         bytes, at_, file_.size());
        const auto* begin = file_.bytes().data() + at_;
        at_ += static_cast<size_t>(bytes);
        return begin;
    }

private:
    const MappedFile& file_;
    size_t at_;
};

}  // namespace espalier::io
