// bfloat16 in storage; arithmetic is done in f32.
#pragma once

#include <bit>
#include <cstdint>

namespace espalier {

/// The upper half of an f32. Conversion rounds to nearest, ties to even; NaN becomes the one NaN 0x7fc0, as
/// in PyTorch.
struct bfloat16 {
    uint16_t bits = 0;

    bfloat16() = default;
    explicit bfloat16(float value) {
        const auto u = std::bit_cast<uint32_t>(value);
        const uint32_t rounded = u + 0x7fffU + ((u >> 16) & 1U);
        bits = static_cast<uint16_t>((value != value ? 0x7fc00000U : rounded) >> 16);
    }
    explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
    static bfloat16 from_bits(uint16_t bits) {
        bfloat16 value;
        value.bits = bits;
        return value;
    }
    bool operator==(const bfloat16&) const = default;
};
static_assert(sizeof(bfloat16) == 2);

}  // namespace espalier
