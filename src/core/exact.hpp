// Integer arithmetic that refuses to lose anything.
#pragma once

#include <cstdint>
#include <utility>

#include "src/core/error.hpp"

namespace espalier {

/// a / b, which must come out even.
template <class T>
constexpr T div_exact(T a, T b) {
    if (b == 0 || a % b != 0) throw InternalError(fmt::format("{} is not a multiple of {}", a, b));
    return a / b;
}

/// a / b rounded up; a >= 0, b > 0.
template <class T>
constexpr T div_ceil(T a, T b) {
    return (a + b - 1) / b;
}

/// value as To; throws InternalError where To cannot hold it.
template <class To, class From>
constexpr To narrow(From value) {
    if (!std::in_range<To>(value))
        throw InternalError(fmt::format("{} does not fit the narrower type", value));
    return static_cast<To>(value);
}

/// A half-open range of indices.
struct Range {
    int64_t begin = 0;
    int64_t end = 0;
    int64_t size() const { return end - begin; }
    bool contains(int64_t i) const { return begin <= i && i < end; }
    bool operator==(const Range&) const = default;
};

constexpr Range intersection(Range x, Range y) {
    const int64_t begin = x.begin > y.begin ? x.begin : y.begin, end = x.end < y.end ? x.end : y.end;
    return {begin, end > begin ? end : begin};
}

/// Part `index` of `count` parts of [0, total): sizes differ by at most one, the larger ones come first.
constexpr Range split_evenly(int64_t total, int64_t count, int64_t index) {
    const int64_t base = total / count, larger = total % count;
    const int64_t begin = index * base + (index < larger ? index : larger);
    return {begin, begin + base + (index < larger ? 1 : 0)};
}

}  // namespace espalier
