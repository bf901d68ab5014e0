#include "src/core/memory_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>

#include "src/core/device.hpp"
#include "src/core/error.hpp"
#include "src/core/exact.hpp"
#include "src/core/has_cuda.hpp"

namespace espalier {
namespace {

constexpr size_t alignment = 64;
constexpr size_t huge_page = size_t{2} << 20;

/// Large tensors begin where pages do, so that they get huge ones.
std::byte* allocate_on_host(size_t size) {
    const size_t align = size >= 2 * huge_page ? huge_page : alignment;
    void* block = std::aligned_alloc(align, div_ceil(size, align) * align);
    if (!block) throw std::bad_alloc();
    if (align == huge_page) madvise(block, size, MADV_HUGEPAGE);
    return static_cast<std::byte*>(block);
}

/// Size classes an eighth apart, so that shapes that vary a little share their blocks.
size_t rounded(size_t bytes) {
    size_t step = alignment;
    while (step * 16 <= bytes) step *= 2;
    return div_ceil(std::max(bytes, alignment), step) * step;
}

}  // namespace

std::shared_ptr<std::byte> MemoryPool::get(size_t bytes) {
    const size_t size = rounded(bytes);
    std::byte* block = take(size);
    return {block, [pool = shared_from_this(), size](std::byte* p) { pool->put(p, size); }};
}

void MemoryPool::trim() {
    const std::lock_guard lock(mutex_);
    for (auto& [size, blocks] : free_) {
        for (std::byte* block : blocks) release(block);
        held_ -= size * blocks.size();
    }
    free_.clear();
}

size_t MemoryPool::held() const {
    const std::lock_guard lock(mutex_);
    return held_;
}

std::byte* MemoryPool::take(size_t size) {
    {
        const std::lock_guard lock(mutex_);
        auto found = free_.find(size);
        if (found != free_.end() && !found->second.empty()) {
            std::byte* block = found->second.back();
            found->second.pop_back();
            return block;
        }
    }
    std::byte* const block = allocate_or_trim(size);
    const std::lock_guard lock(mutex_);
    held_ += size;
    return block;
}

/// Blocks of other sizes that nobody uses make room before memory is said to be out.
std::byte* MemoryPool::allocate_or_trim(size_t size) {
    try {
        return allocate(size);
    } catch (const UserError&) {  // of a device, with what to do
    } catch (const std::bad_alloc&) {
    }
    trim();
    return allocate(size);
}

std::byte* MemoryPool::allocate(size_t size) const {
    if constexpr (has_cuda) {
        if (source_ == Source::device) return device::allocate(size);
        if (source_ == Source::pinned) return device::allocate_pinned(size);
    }
    return allocate_on_host(size);
}

void MemoryPool::release(std::byte* block) const noexcept {
    if constexpr (has_cuda) {
        if (source_ == Source::device) return device::release(block);
        if (source_ == Source::pinned) return device::release_pinned(block);
    }
    std::free(block);
}

void MemoryPool::put(std::byte* block, size_t size) noexcept {
    const std::lock_guard lock(mutex_);
    try {
        free_[size].push_back(block);
    } catch (const std::bad_alloc&) {  // no memory for the list
        release(block);
        held_ -= size;
    }
}

}  // namespace espalier
