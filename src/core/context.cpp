#include "src/core/context.hpp"

#include <omp.h>
#include <sys/mman.h>

#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "src/core/exact.hpp"

namespace espalier {

/// Blocks by size, kept for the next tensor of that size.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
public:
    ~MemoryPool() { trim(); }

    std::shared_ptr<std::byte> get(size_t bytes) {
        const size_t size = rounded(bytes);
        std::byte* block = take(size);
        return {block, [pool = shared_from_this(), size](std::byte* p) { pool->put(p, size); }};
    }

    void trim() {
        const std::lock_guard lock(mutex_);
        for (auto& [size, blocks] : free_) {
            for (std::byte* block : blocks) std::free(block);
            held_ -= size * blocks.size();
        }
        free_.clear();
    }

    size_t held() const { return held_; }

private:
    static constexpr size_t alignment = 64;
    static constexpr size_t huge_page = size_t{2} << 20;

    /// Size classes an eighth apart, so that shapes that vary a little share their blocks.
    static size_t rounded(size_t bytes) {
        size_t step = alignment;
        while (step * 16 <= bytes) step *= 2;
        return div_ceil(std::max(bytes, alignment), step) * step;
    }

    std::byte* take(size_t size) {
        {
            const std::lock_guard lock(mutex_);
            auto found = free_.find(size);
            if (found != free_.end() && !found->second.empty()) {
                std::byte* block = found->second.back();
                found->second.pop_back();
                return block;
            }
            held_ += size;
        }
        const size_t align = size >= 2 * huge_page ? huge_page : alignment;
        void* block = std::aligned_alloc(align, div_ceil(size, align) * align);
        if (!block) throw std::bad_alloc();
        if (align == huge_page) madvise(block, size, MADV_HUGEPAGE);
        return static_cast<std::byte*>(block);
    }

    void put(std::byte* block, size_t size) noexcept {
        const std::lock_guard lock(mutex_);
        free_[size].push_back(block);
    }

    std::mutex mutex_;
    std::map<size_t, std::vector<std::byte*>> free_;
    size_t held_ = 0;
};

Context::Context(ContextOptions options) : options_(options), pool_(std::make_shared<MemoryPool>()) {
    omp_set_num_threads(options_.threads);
}

Context::~Context() = default;

Tensor Context::empty(Shape shape, DType dtype) {
    const size_t bytes = static_cast<size_t>(element_count(shape)) * size_of(dtype);
    auto memory = pool_->get(bytes);
#ifdef ESPALIER_DEBUG
    std::memset(memory.get(), 0xff, bytes);
#endif
    return Tensor(std::move(memory), std::move(shape), dtype, options_.device);
}

Tensor Context::zeros(Shape shape, DType dtype) {
    Tensor out = empty(std::move(shape), dtype);
    std::memset(out.raw(), 0, out.bytes());
    return out;
}

size_t Context::pooled_bytes() const {
    return pool_->held();
}

void Context::trim() {
    pool_->trim();
}

}  // namespace espalier
