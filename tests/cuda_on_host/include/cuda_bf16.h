// bf16 of CUDA on a processor.
#pragma once

#include "src/core/bfloat16.hpp"

struct __nv_bfloat16 {
    uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 x) {
    return static_cast<float>(espalier::bfloat16::from_bits(x.bits));
}
inline __nv_bfloat16 __float2bfloat16(float x) {
    return {espalier::bfloat16(x).bits};
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) {
    return x.bits;
}
