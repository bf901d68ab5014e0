// Every quantised type against its formula, written out element by element from the layout in the
// specification.
#include "io/gguf_quants.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "src/core/random.hpp"

namespace espalier::test {
namespace {

using Block = std::vector<uint8_t>;

// Random bits, with halves of moderate size at these places.
Block random_block(size_t size, std::vector<size_t> halves, uint64_t seed) {
    Block block(size);
    for (size_t i = 0; i < size; ++i) block[i] = static_cast<uint8_t>(mix64(seed + i));
    for (const size_t at : halves) block[at + 1] = static_cast<uint8_t>((block[at + 1] & 0x83) | 0x2c);
    return block;
}

double half_at(const Block& block, size_t at) {
    const int bits = block[at] | block[at + 1] << 8;
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const double magnitude =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

// Element i of `block` by `formula` against the decoder; every result here is a double that rounds once to
// float.
template <class Formula>
void expect_decoded(uint32_t id, const Block& block, Formula formula) {
    const auto* encoding = io::gguf_encoding(id);
    ASSERT_EQ(encoding->block_bytes, static_cast<int64_t>(block.size()));
    std::vector<float> decoded(static_cast<size_t>(encoding->block));

    encoding->decode(reinterpret_cast<const std::byte*>(block.data()), 1,
                     reinterpret_cast<std::byte*>(decoded.data()));

    for (size_t i = 0; i < decoded.size(); ++i) {
        EXPECT_EQ(decoded[i], static_cast<float>(formula(i))) << encoding->name << " element " << i;
    }
}

int nibble(const Block& b, size_t begin, size_t i) {
    return i < 16 ? b[begin + i] & 15 : b[begin + i - 16] >> 4;
}
int bit(const Block& b, size_t begin, size_t i) {
    return b[begin + i / 8] >> i % 8 & 1;
}

TEST(GgufQuants, BlocksOf32DecodeByTheirFormula) {
    for (uint64_t seed = 0; seed < 2000; seed += 100) {
        const auto q4_0 = random_block(18, {0}, seed), q4_1 = random_block(20, {0, 2}, seed);
        const auto q5_0 = random_block(22, {0}, seed), q5_1 = random_block(24, {0, 2}, seed);
        const auto q8_0 = random_block(34, {0}, seed);

        expect_decoded(2, q4_0, [&](size_t i) { return half_at(q4_0, 0) * (nibble(q4_0, 2, i) - 8); });
        expect_decoded(3, q4_1,
                       [&](size_t i) { return half_at(q4_1, 0) * nibble(q4_1, 4, i) + half_at(q4_1, 2); });
        expect_decoded(6, q5_0, [&](size_t i) {
            return half_at(q5_0, 0) * (nibble(q5_0, 6, i) + 16 * bit(q5_0, 2, i) - 16);
        });
        expect_decoded(7, q5_1, [&](size_t i) {
            return half_at(q5_1, 0) * (nibble(q5_1, 8, i) + 16 * bit(q5_1, 4, i)) + half_at(q5_1, 2);
        });
        expect_decoded(8, q8_0,
                       [&](size_t i) { return half_at(q8_0, 0) * static_cast<int8_t>(q8_0[2 + i]); });
    }
}

// Scale k (0 to 7) or minimum k - 8 (8 to 15) of the 12 bytes at `begin`.
int six_bits(const Block& b, size_t begin, size_t k) {
    const bool minimum = k >= 8;
    const size_t j = k % 8, low = begin + (minimum ? 4 : 0);
    if (j < 4) return b[low + j] & 63;
    const int four = minimum ? b[begin + 8 + j - 4] >> 4 : b[begin + 8 + j - 4] & 15;
    return four + 16 * (b[low + j - 4] >> 6);
}

TEST(GgufQuants, BlocksOf256DecodeByTheirFormula) {
    for (uint64_t seed = 0; seed < 20000; seed += 1000) {
        const auto q4 = random_block(144, {0, 2}, seed), q5 = random_block(176, {0, 2}, seed);
        const auto q6 = random_block(210, {208}, seed);
        const auto four = [](const Block& b, size_t begin, size_t i) {
            const int byte = b[begin + i / 64 * 32 + i % 32];
            return i % 64 < 32 ? byte & 15 : byte >> 4;
        };

        expect_decoded(12, q4, [&](size_t i) {
            return half_at(q4, 0) * six_bits(q4, 4, i / 32) * four(q4, 16, i) -
                   half_at(q4, 2) * six_bits(q4, 4, 8 + i / 32);
        });
        expect_decoded(13, q5, [&](size_t i) {
            const int q = four(q5, 48, i) + 16 * (q5[16 + i % 32] >> i / 32 & 1);
            return half_at(q5, 0) * six_bits(q5, 4, i / 32) * q -
                   half_at(q5, 2) * six_bits(q5, 4, 8 + i / 32);
        });
        expect_decoded(14, q6, [&](size_t i) {
            const size_t half = i / 128, quarter = i % 128 / 32, l = i % 32;
            const int low = q6[64 * half + l + (quarter % 2 ? 32 : 0)];
            const int high = q6[128 + 32 * half + l] >> 2 * quarter & 3;
            const int q = ((quarter < 2 ? low & 15 : low >> 4) | high << 4) - 32;
            const int scale = static_cast<int8_t>(q6[192 + 8 * half + l / 16 + 2 * quarter]);
            return half_at(q6, 208) * scale * q;
        });
    }
}

}  // namespace
}  // namespace espalier::test
