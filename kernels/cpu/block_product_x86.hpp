// Block products in instructions that not every x86-64 processor has; call them only where has(Isa) says so.
#pragma once

#include "kernels/cpu/block_product.hpp"
#include "src/core/bfloat16.hpp"

namespace espalier::cpu {

void multiply_avx512(Store, const BlockShape&, BlockRows<float>, BlockPanels<float>, float* c,
                     int64_t c_stride);
void multiply_avx512_bf16(Store, const BlockShape&, BlockRows<bfloat16>, BlockPanels<bfloat16>, float* c,
                          int64_t c_stride);
void multiply_amx(Store, const BlockShape&, BlockRows<bfloat16>, BlockPanels<bfloat16>, float* c,
                  int64_t c_stride);

}  // namespace espalier::cpu
