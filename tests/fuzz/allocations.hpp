// The size of the largest allocation by operator new, for tests that bound it.
#pragma once

#include <atomic>
#include <cstddef>

namespace espalier::test {

/// Since it was last set to 0; linking this file replaces the program's operator new.
extern std::atomic<size_t> largest_allocation;

}  // namespace espalier::test
