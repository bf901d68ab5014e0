// How weight files store numbers, and how they become f32 or bf16.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "io/mapped_file.hpp"
#include "src/core/tensor.hpp"

namespace espalier::io {

/// Numbers come in blocks; a plain type is a block of one. `decode` is null where only the size is known, so
/// that a file with such tensors can be checked and listed.
struct Encoding {
    std::string_view name;  ///< "BF16", "Q4_1"
    int64_t block;          ///< elements of a block
    int64_t block_bytes;
    DType dtype = DType::f32;  ///< of what decode writes
    void (*decode)(const std::byte* in, int64_t blocks,
                   std::byte* out) = nullptr;  ///< in need not be aligned
};

/// F32, F16, BF16, F64, and the integers I8 to I64, U8 to U64 and BOOL (sizes only). Null for an unknown
/// name.
const Encoding* plain_encoding(std::string_view name);

/// IEEE half precision to f32: exact.
inline float half_to_float(uint16_t half) {
    constexpr uint32_t smallest_normal = 113U << 23;  // 2^-14 as f32
    const uint32_t shifted = (half & 0x7fffU) << 13, exponent = shifted & (0x1fU << 23);
    const uint32_t normal = shifted + (112U << 23) + (exponent == (0x1fU << 23) ? 112U << 23 : 0U);
    const float subnormal =
        std::bit_cast<float>(shifted + smallest_normal) - std::bit_cast<float>(smallest_normal);
    const uint32_t magnitude = exponent == 0 ? std::bit_cast<uint32_t>(subnormal) : normal;
    return std::bit_cast<float>(magnitude | (static_cast<uint32_t>(half & 0x8000U) << 16));
}

/// Elements of `shape`, or nothing when a dimension is negative or the product of the dimensions that are not
/// zero does not fit int64: no partial product of such a shape overflows.
std::optional<int64_t> checked_count(const Shape& shape);

/// Bytes of `elements` in this encoding, or nothing when they do not fill whole blocks or overflow.
std::optional<int64_t> checked_bytes(const Encoding& encoding, int64_t elements);

/// Decodes `blocks` blocks that begin at byte `begin` of the file, giving its pages back on the way.
void decode_blocks(const MappedFile& file, size_t begin, const Encoding& encoding, int64_t blocks,
                   std::span<std::byte> out);

}  // namespace espalier::io
