// The random order of numpy's legacy RandomState, which Megatron-LM's sample order is defined by.
#pragma once

#include <bit>
#include <cstdint>
#include <random>
#include <span>
#include <utility>

namespace espalier::data {

/// What `numpy.random.RandomState(seed)` is the generator of.
using RandomState = std::mt19937;

/// Uniform in [0, max]: draws masked to the bits of max until one is not larger (numpy's random_interval).
inline uint32_t interval(RandomState& generator, uint32_t max) {
    const uint32_t mask = max == 0 ? 0 : ~uint32_t{0} >> std::countl_zero(max);
    for (;;) {
        const auto value = static_cast<uint32_t>(generator()) & mask;
        if (value <= max) return value;
    }
}

/// RandomState.shuffle, for fewer than 2^32 values.
template <class T>
void shuffle(RandomState& generator, std::span<T> values) {
    for (auto i = static_cast<uint32_t>(values.size()); i-- > 1;)
        std::swap(values[i], values[interval(generator, i)]);
}

}  // namespace espalier::data
