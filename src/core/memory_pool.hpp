// Where the memory of tensors comes from and goes back to.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace espalier {

/// Blocks by size, kept for the next tensor of that size. Beside the rank's main thread, which takes blocks,
/// only a thread that writes a checkpoint may drop the last handle of one.
class MemoryPool : public std::enable_shared_from_this<MemoryPool> {
public:
    enum class Source { host, pinned, device };

    explicit MemoryPool(Source source) : source_(source) {}
    ~MemoryPool() { trim(); }
    MemoryPool(const MemoryPool&) = delete;
    MemoryPool& operator=(const MemoryPool&) = delete;

    /// A block of at least `bytes` of undefined content, 64-byte aligned, which goes back to the pool with
    /// its last handle. Throws UserError where a device or the system gives no more, std::bad_alloc for host
    /// memory.
    std::shared_ptr<std::byte> get(size_t bytes);
    /// Gives what is not in use back to the system. A device's comes back when all its streams have ended,
    /// those too that wait for another rank.
    void trim();
    /// Bytes from the system, in use or not.
    size_t held() const;

private:
    std::byte* take(size_t size);
    std::byte* allocate_or_trim(size_t size);
    std::byte* allocate(size_t size) const;
    void release(std::byte* block) const noexcept;
    void put(std::byte* block, size_t size) noexcept;

    const Source source_;
    mutable std::mutex mutex_;  // of what follows
    std::map<size_t, std::vector<std::byte*>> free_;
    size_t held_ = 0;
};

}  // namespace espalier
