#include "io/encoding.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace espalier::io {
namespace {

template <class From>
void decode_each(const std::byte* in, int64_t count, std::byte* out, float (*convert)(From)) {
    for (int64_t i = 0; i < count; ++i) {
        From value;
        std::memcpy(&value, in + i * sizeof(From), sizeof(From));
        const float result = convert(value);
        std::memcpy(out + i * sizeof(float), &result, sizeof(float));
    }
}

template <size_t width>
void copy(const std::byte* in, int64_t count, std::byte* out) {
    std::memcpy(out, in, static_cast<size_t>(count) * width);
}

void decode_half(const std::byte* in, int64_t count, std::byte* out) {
    decode_each<uint16_t>(in, count, out, half_to_float);
}

void decode_double(const std::byte* in, int64_t count, std::byte* out) {
    decode_each<double>(in, count, out, [](double value) { return static_cast<float>(value); });
}

constexpr std::array encodings{
    Encoding{"F32", 1, 4, DType::f32, copy<4>},
    Encoding{"BF16", 1, 2, DType::bf16, copy<2>},
    Encoding{"F16", 1, 2, DType::f32, decode_half},
    Encoding{"F64", 1, 8, DType::f32, decode_double},
    Encoding{"BOOL", 1, 1},
    Encoding{"U8", 1, 1},
    Encoding{"I8", 1, 1},
    Encoding{"U16", 1, 2},
    Encoding{"I16", 1, 2},
    Encoding{"U32", 1, 4},
    Encoding{"I32", 1, 4},
    Encoding{"U64", 1, 8},
    Encoding{"I64", 1, 8},
};

}  // namespace

const Encoding* plain_encoding(std::string_view name) {
    const auto* found = std::ranges::find(encodings, name, &Encoding::name);
    return found == encodings.end() ? nullptr : found;
}

std::optional<int64_t> checked_count(const Shape& shape) {
    int64_t product = 1;
    bool empty = false;
    for (const int64_t n : shape) {
        if (n < 0) return std::nullopt;
        if (n == 0) {
            empty = true;
        } else if (__builtin_mul_overflow(product, n, &product)) {
            return std::nullopt;
        }
    }
    return empty ? 0 : product;
}

std::optional<int64_t> checked_bytes(const Encoding& encoding, int64_t elements) {
    int64_t bytes = 0;
    if (elements % encoding.block != 0) return std::nullopt;
    if (__builtin_mul_overflow(elements / encoding.block, encoding.block_bytes, &bytes)) return std::nullopt;
    return bytes;
}

void decode_blocks(const MappedFile& file, size_t begin, const Encoding& encoding, int64_t blocks,
                   std::span<std::byte> out) {
    constexpr int64_t step_bytes = 8 << 20;  // what is resident of the file at a time
    const int64_t step = std::max<int64_t>(1, step_bytes / encoding.block_bytes);
    const size_t decoded_bytes = static_cast<size_t>(encoding.block) * size_of(encoding.dtype);
    for (int64_t done = 0; done < blocks; done += step) {
        const int64_t count = std::min(step, blocks - done);
        const size_t from = begin + static_cast<size_t>(done * encoding.block_bytes);
        encoding.decode(file.bytes().data() + from, count,
                        out.data() + static_cast<size_t>(done) * decoded_bytes);
        file.release(from, static_cast<size_t>(count * encoding.block_bytes));
    }
}

}  // namespace espalier::io
