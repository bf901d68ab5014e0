#include "kernels/cpu/isa.hpp"

#include <oneapi/dnnl/dnnl.hpp>

namespace espalier::cpu {
namespace {

Isa detect() {
    const auto available = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto covers = [&](dnnl::cpu_isa isa) {
        const auto needed = static_cast<unsigned>(isa);
        return (available & needed) == needed;
    };
    if (covers(dnnl::cpu_isa::avx512_core_amx)) return Isa::amx_bf16;
    if (covers(dnnl::cpu_isa::avx512_core_bf16)) return Isa::avx512_bf16;
    if (covers(dnnl::cpu_isa::avx512_core)) return Isa::avx512;
    return Isa::baseline;
}

}  // namespace

bool has(Isa isa) {
    static const Isa available = detect();
    return available >= isa;
}

}  // namespace espalier::cpu
