// What the processor multiplies with, beyond the baseline that the program is compiled for.
#pragma once

namespace espalier::cpu {

/// Each has what stands before it.
enum class Isa { baseline, avx512, avx512_bf16, amx_bf16 };

/// As oneDNN sees it, whose environment variable ONEDNN_MAX_CPU_ISA lowers it for the whole program.
/// amx_bf16: the kernel lets this process use its tiles, too.
bool has(Isa isa);

}  // namespace espalier::cpu
