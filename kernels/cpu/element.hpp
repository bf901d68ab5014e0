// Elements on their way from f32 arithmetic to storage.
#pragma once

#include "src/core/bfloat16.hpp"

namespace espalier::cpu {

inline void store(float& to, float value) {
    to = value;
}
/// Bits, not a bfloat16, are assigned: GCC 12 does not vectorise the copy of a struct under `omp simd`.
inline void store(bfloat16& to, float value) {
    to.bits = bfloat16(value).bits;
}

}  // namespace espalier::cpu
