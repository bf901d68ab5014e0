#include "io/gguf_quants.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace espalier::io {
namespace {

// Scales have 11 significant bits, sub-block scales 6, quants at most 6: every product that a minimum is
// added to is exact in f32, so the results do not depend on whether the compiler fuses the two.
template <class T>
T load(const std::byte* in) {
    T value;
    std::memcpy(&value, in, sizeof(T));
    return value;
}

float half(const std::byte* in) {
    return half_to_float(load<uint16_t>(in));
}

template <int elements, int bytes, auto block>
void decode(const std::byte* in, int64_t blocks, std::byte* out) {
    for (int64_t b = 0; b < blocks; ++b) {
        float y[elements];
        block(in + b * bytes, y);
        std::memcpy(out + b * static_cast<int64_t>(sizeof y), y, sizeof y);
    }
}

// The two halves of a 32-element block share bytes: element j in the low nibble of byte j, j + 16 in the high
// one.
int low(const uint8_t* q, int j) {
    return q[j] & 15;
}
int high(const uint8_t* q, int j) {
    return q[j] >> 4;
}
int fifth_bit(uint32_t bits, int j) {
    return static_cast<int>(bits >> j & 1U) << 4;
}
const uint8_t* bytes_at(const std::byte* in, int offset) {
    return reinterpret_cast<const uint8_t*>(in) + offset;
}

void q4_0(const std::byte* in, float* y) {
    const float d = half(in);
    const auto* q = bytes_at(in, 2);
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(low(q, j) - 8);
        y[j + 16] = d * static_cast<float>(high(q, j) - 8);
    }
}

void q4_1(const std::byte* in, float* y) {
    const float d = half(in), m = half(in + 2);
    const auto* q = bytes_at(in, 4);
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(low(q, j)) + m;
        y[j + 16] = d * static_cast<float>(high(q, j)) + m;
    }
}

void q5_0(const std::byte* in, float* y) {
    const float d = half(in);
    const auto bits = load<uint32_t>(in + 2);
    const auto* q = bytes_at(in, 6);
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>((low(q, j) | fifth_bit(bits, j)) - 16);
        y[j + 16] = d * static_cast<float>((high(q, j) | fifth_bit(bits, j + 16)) - 16);
    }
}

void q5_1(const std::byte* in, float* y) {
    const float d = half(in), m = half(in + 2);
    const auto bits = load<uint32_t>(in + 4);
    const auto* q = bytes_at(in, 8);
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(low(q, j) | fifth_bit(bits, j)) + m;
        y[j + 16] = d * static_cast<float>(high(q, j) | fifth_bit(bits, j + 16)) + m;
    }
}

void q8_0(const std::byte* in, float* y) {
    const float d = half(in);
    const auto* q = reinterpret_cast<const int8_t*>(in) + 2;
    for (int j = 0; j < 32; ++j) y[j] = d * static_cast<float>(q[j]);
}

struct ScaleMin {
    float scale, minimum;
};

// Eight 6-bit scales and eight 6-bit minima in 12 bytes: the first four of each whole in the low bits of
// bytes 0-3 and 4-7, the last four split between bytes 8-11 and the two spare bits above the first four.
ScaleMin scale_min(const uint8_t* s, int k) {
    if (k < 4) return {static_cast<float>(s[k] & 63), static_cast<float>(s[k + 4] & 63)};
    return {static_cast<float>((s[k + 4] & 15) | (s[k - 4] >> 2 & 48)),
            static_cast<float>((s[k + 4] >> 4) | (s[k] >> 2 & 48))};
}

void q4_k(const std::byte* in, float* y) {
    const float d = half(in), dmin = half(in + 2);
    const auto *scales = bytes_at(in, 4), *q = bytes_at(in, 16);
    for (int k = 0; k < 8;
         ++k) {  // sub-blocks of 32: an even one in the low nibbles, the next in the high ones
        const auto [scale, minimum] = scale_min(scales, k);
        const float dk = d * scale, mk = dmin * minimum;
        for (int j = 0; j < 32; ++j) {
            const int nibble = q[k / 2 * 32 + j] >> (k % 2 * 4) & 15;
            y[k * 32 + j] = dk * static_cast<float>(nibble) - mk;
        }
    }
}

void q5_k(const std::byte* in, float* y) {
    const float d = half(in), dmin = half(in + 2);
    const auto *scales = bytes_at(in, 4), *fifth = bytes_at(in, 16), *q = bytes_at(in, 48);
    for (int k = 0; k < 8; ++k) {
        const auto [scale, minimum] = scale_min(scales, k);
        const float dk = d * scale, mk = dmin * minimum;
        for (int j = 0; j < 32; ++j) {
            const int nibble = q[k / 2 * 32 + j] >> (k % 2 * 4) & 15;
            y[k * 32 + j] = dk * static_cast<float>(nibble | (fifth[j] >> k & 1) << 4) - mk;
        }
    }
}

void q6_k(const std::byte* in, float* y) {
    const auto *low_bits = bytes_at(in, 0), *high_bits = bytes_at(in, 128);
    const auto* scales = reinterpret_cast<const int8_t*>(in) + 192;
    const float d = half(in + 208);
    for (int k = 0; k < 8; ++k) {  // 32 elements each; four of them share 64 bytes of low and 32 of high bits
        const int part = k % 4;
        const auto *ql = low_bits + k / 4 * 64 + part % 2 * 32, *qh = high_bits + k / 4 * 32;
        for (int j = 0; j < 32; ++j) {
            const int q = ((ql[j] >> (part / 2 * 4) & 15) | (qh[j] >> (part * 2) & 3) << 4) - 32;
            const int8_t scale = scales[k * 2 + j / 16];
            y[k * 32 + j] = d * static_cast<float>(scale) * static_cast<float>(q);
        }
    }
}

template <int elements, int bytes, auto block>
constexpr Encoding quantised(std::string_view name) {
    return {name, elements, bytes, DType::f32, decode<elements, bytes, block>};
}

struct Type {
    uint32_t id;
    Encoding encoding;
};
const std::array types{
    Type{0, *plain_encoding("F32")},
    Type{1, *plain_encoding("F16")},
    Type{30, *plain_encoding("BF16")},
    Type{28, *plain_encoding("F64")},
    Type{24, *plain_encoding("I8")},
    Type{25, *plain_encoding("I16")},
    Type{26, *plain_encoding("I32")},
    Type{27, *plain_encoding("I64")},
    Type{2, quantised<32, 18, q4_0>("Q4_0")},
    Type{3, quantised<32, 20, q4_1>("Q4_1")},
    Type{6, quantised<32, 22, q5_0>("Q5_0")},
    Type{7, quantised<32, 24, q5_1>("Q5_1")},
    Type{8, quantised<32, 34, q8_0>("Q8_0")},
    Type{12, quantised<256, 144, q4_k>("Q4_K")},
    Type{13, quantised<256, 176, q5_k>("Q5_K")},
    Type{14, quantised<256, 210, q6_k>("Q6_K")},
    Type{9, {"Q8_1", 32, 40}},
    Type{10, {"Q2_K", 256, 84}},
    Type{11, {"Q3_K", 256, 110}},
    Type{15, {"Q8_K", 256, 292}},
    Type{16, {"IQ2_XXS", 256, 66}},
    Type{17, {"IQ2_XS", 256, 74}},
    Type{18, {"IQ3_XXS", 256, 98}},
    Type{19, {"IQ1_S", 256, 50}},
    Type{20, {"IQ4_NL", 32, 18}},
    Type{21, {"IQ3_S", 256, 110}},
    Type{22, {"IQ2_S", 256, 82}},
    Type{23, {"IQ4_XS", 256, 136}},
    Type{29, {"IQ1_M", 256, 56}},
    Type{34, {"TQ1_0", 256, 54}},
    Type{35, {"TQ2_0", 256, 66}},
    Type{39, {"MXFP4", 32, 17}},
    Type{40, {"NVFP4", 64, 36}},
    Type{41, {"Q1_0", 128, 18}},
};

}  // namespace

const Encoding* gguf_encoding(uint32_t id) {
    const auto found = std::ranges::find(types, id, &Type::id);
    return found == types.end() ? nullptr : &found->encoding;
}

}  // namespace espalier::io
