// Sums and maxima of loops inside `wide`, where GCC 12 leaves simd reductions scalar.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cpu/wide.hpp"

namespace espalier::cpu {

/// Partial results side by side.
class Lanes {
public:
    static constexpr int64_t count = 32;

    [[gnu::always_inline]] explicit Lanes(float start) {
        for (float& x : of_) x = start;
    }
    [[gnu::always_inline]] float& operator[](int64_t lane) { return of_[lane]; }

    [[gnu::always_inline]] float sum() const {
        return joined([](auto x, auto y) ESPALIER_WIDE { return x + y; });
    }
    /// Of numbers; NaN may get lost.
    [[gnu::always_inline]] float max() const {
        return joined([](auto x, auto y) ESPALIER_WIDE { return x > y ? x : y; });
    }

private:
    typedef float Eight __attribute__((vector_size(32)));

    [[gnu::always_inline]] Eight part(int64_t i) const {
        Eight eight;
        std::memcpy(&eight, of_ + 8 * i, sizeof eight);
        return eight;
    }
    /// All lanes, halves at a time and in registers: scalar loops over what was just written as a vector wait
    /// for the memory of it.
    template <class Join>
    [[gnu::always_inline]] float joined(Join join) const {
        Eight x = join(join(part(0), part(1)), join(part(2), part(3)));
        x = join(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3));
        x = join(x, __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5));
        x = join(x, __builtin_shufflevector(x, x, 1, 0, 3, 2, 5, 4, 7, 6));
        return x[0];
    }

    float of_[count];
};

/// body(j, lane) for each j in [0, count), the same lane for every 32nd. Body is ESPALIER_WIDE.
template <class Body>
[[gnu::always_inline]] inline void in_lanes(int64_t count, Body body) {
    int64_t begin = 0;
    for (; begin + Lanes::count <= count; begin += Lanes::count) {
#pragma omp simd
        for (int64_t lane = 0; lane < Lanes::count; ++lane) body(begin + lane, lane);
    }
    for (int64_t lane = 0; lane < count - begin; ++lane) body(begin + lane, lane);
}

}  // namespace espalier::cpu
