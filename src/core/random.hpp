// Random numbers that depend on a key and a counter alone, never on the order or the layout of the work.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace espalier {

/// Steele, Lea, Flood 2014 (SplitMix64): a bijection of 64 bits that looks random.
constexpr uint64_t mix64(uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/// FNV-1a, for keys made of names.
constexpr uint64_t hash_name(std::string_view name) {
    uint64_t h = 0xcbf29ce484222325ULL;
    for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return h;
}

/// Uniform in [0, 1) with 53 bits.
constexpr double uniform(uint64_t key, uint64_t counter) {
    return static_cast<double>(mix64(key ^ mix64(counter)) >> 11) * 0x1.0p-53;
}

/// Standard normal (Box and Muller 1958).
inline double normal(uint64_t key, uint64_t counter) {
    const double u = 1.0 - uniform(key, 2 * counter), v = uniform(key, 2 * counter + 1);
    return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace espalier
