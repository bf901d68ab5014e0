// The number types of GGUF files (ggml/src/ggml-common.h and ggml-quants.c at ggml-org/ggml).
#pragma once

#include "io/encoding.hpp"

namespace espalier::io {

/// The type of this id, or null for an id that is not known. F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1,
/// Q8_0, Q4_K, Q5_K and Q6_K decode, bit for bit as gguf-py's dequantize; of the others only the size is
/// known.
const Encoding* gguf_encoding(uint32_t id);

}  // namespace espalier::io
