// Damage to a file, a function of the seed alone.
#pragma once

#include <cstdint>
#include <string>

namespace espalier::test {

/// One to three of: bits flipped, the end cut off, bytes removed, repeated or inserted, a number field or a
/// decimal number in text replaced by an extreme one.
std::string mutate(std::string bytes, uint64_t seed);

}  // namespace espalier::test
