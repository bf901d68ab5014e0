#include <array>
#include <utility>

#include "io/gguf.hpp"
#include "io/gguf_cursor.hpp"

namespace espalier::io {
namespace {

enum Type : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean_type, string, array, u64, i64, f64 };
constexpr std::array<uint64_t, 13> smallest_size{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

int64_t read_integer(GgufCursor& at, uint32_t type) {
    switch (type) {
        case u8:
            return at.read<uint8_t>();
        case i8:
            return at.read<int8_t>();
        case u16:
            return at.read<uint16_t>();
        case i16:
            return at.read<int16_t>();
        case u32:
            return at.read<uint32_t>();
        case i32:
            return at.read<int32_t>();
        case i64:
            return at.read<int64_t>();
        case u64: {
            const auto value = at.read<uint64_t>();
            ESPALIER_REQUIRE(std::in_range<int64_t>(value), "{} is too large", value);
            return static_cast<int64_t>(value);
        }
        default:
            fail("it is not an integer");
    }
}

double read_real(GgufCursor& at, uint32_t type) {
    switch (type) {
        case f32:
            return at.read<float>();
        case f64:
            return at.read<double>();
        case string:
        case boolean_type:
            fail("it is not a number");
        default:
            return static_cast<double>(read_integer(at, type));
    }
}

std::string read_text(GgufCursor& at, uint32_t type) {
    ESPALIER_REQUIRE(type == string, "it is not a string");
    return std::string(at.text());
}

bool read_boolean(GgufCursor& at, uint32_t type) {
    ESPALIER_REQUIRE(type == boolean_type, "it is not a boolean");
    return at.read<uint8_t>() != 0;
}

}  // namespace

void GgufFile::read_metadata(GgufCursor& at, uint64_t count) {
    constexpr uint64_t smallest = 8 + 4 + 1;  // key length, type, value
    ESPALIER_REQUIRE(count <= at.remaining() / smallest, "{}: {} metadata keys do not fit a file of {} bytes",
                     at.path(), count, file().size());
    for (uint64_t i = 0; i < count; ++i) {
        const std::string key(at.text());
        Value value{at.read<uint32_t>(), false, 1, 0};
        if (value.type == array) {
            value = {at.read<uint32_t>(), true, at.read<uint64_t>(), 0};
            ESPALIER_REQUIRE(value.type != array,
                             "{}: metadata '{}' is an array of arrays, which is not supported", at.path(),
                             key);
        }
        ESPALIER_REQUIRE(value.type < smallest_size.size(), "{}: metadata '{}' has the unknown type {}",
                         at.path(), key, value.type);
        ESPALIER_REQUIRE(value.count <= at.remaining() / smallest_size[value.type],
                         "{}: metadata '{}' of {} elements does not fit the file", at.path(), key,
                         value.count);
        value.begin = at.at();
        if (value.type == string) {
            for (uint64_t n = 0; n < value.count; ++n) at.text();
        } else {
            at.skip(value.count * smallest_size[value.type]);
        }
        ESPALIER_REQUIRE(metadata_.emplace(key, value).second, "{}: metadata '{}' occurs twice", at.path(),
                         key);
    }
}

template <class T>
std::optional<std::vector<T>> GgufFile::list(const std::string& key, T (*read)(GgufCursor&, uint32_t)) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) return std::nullopt;
    const auto& value = found->second;
    GgufCursor at(file(), value.begin);
    std::vector<T> out;
    try {
        for (uint64_t i = 0; i < value.count; ++i) out.push_back(read(at, value.type));
    } catch (const UserError& error) {
        fail("{}: metadata '{}': {}", file().path(), key, error.what());
    }
    return out;
}

template <class T>
std::optional<T> GgufFile::single(const std::string& key, T (*read)(GgufCursor&, uint32_t)) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) return std::nullopt;
    ESPALIER_REQUIRE(!found->second.array, "{}: metadata '{}' is a list, expected one value", file().path(),
                     key);
    return list(key, read)->front();
}

std::vector<std::string> GgufFile::keys() const {
    std::vector<std::string> keys;
    for (const auto& [key, value] : metadata_) keys.push_back(key);
    return keys;
}

std::optional<std::string> GgufFile::text(const std::string& key) const {
    return single(key, read_text);
}
std::optional<int64_t> GgufFile::integer(const std::string& key) const {
    return single(key, read_integer);
}
std::optional<double> GgufFile::real(const std::string& key) const {
    return single(key, read_real);
}
std::optional<bool> GgufFile::boolean(const std::string& key) const {
    return single(key, read_boolean);
}
std::optional<std::vector<std::string>> GgufFile::texts(const std::string& key) const {
    return list(key, read_text);
}
std::optional<std::vector<int64_t>> GgufFile::integers(const std::string& key) const {
    return list(key, read_integer);
}
std::optional<std::vector<double>> GgufFile::reals(const std::string& key) const {
    return list(key, read_real);
}

}  // namespace espalier::io
