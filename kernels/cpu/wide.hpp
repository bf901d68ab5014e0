// Loops in the widest vectors that the processor has.
#pragma once

#include "kernels/cpu/isa.hpp"

namespace espalier::cpu {

/// Put after the parameters of a lambda that is handed to `wide`.
#define ESPALIER_WIDE __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
template <class Body>
[[gnu::noinline, gnu::target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")]] auto with_avx512(
    const Body& body) {
    return body();
}
#endif

/// body(), which is ESPALIER_WIDE and compiled twice: for the baseline, and for vectors of 512 bits. Where it
/// adds up, results differ between processors as sums do, within rounding. No simd reductions in it: GCC 12
/// leaves them scalar here.
template <class Body>
[[gnu::noinline]] auto wide(const Body& body) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    if (has(Isa::avx512)) return with_avx512(body);
#endif
    return body();
}

}  // namespace espalier::cpu
