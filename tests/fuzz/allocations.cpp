#include "tests/fuzz/allocations.hpp"

#include <cstdlib>
#include <new>

namespace espalier::test {

std::atomic<size_t> largest_allocation = 0;

}  // namespace espalier::test

void* operator new(size_t size) {
    if (size > espalier::test::largest_allocation) espalier::test::largest_allocation = size;
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
    if (size > espalier::test::largest_allocation) espalier::test::largest_allocation = size;
    return std::malloc(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
    std::free(memory);
}
