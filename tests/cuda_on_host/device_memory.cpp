#include "tests/cuda_on_host/device_memory.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>

#include "tests/cuda_on_host/runtime.hpp"

#ifdef ESPALIER_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, size) static_cast<void>(begin)
#define ASAN_UNPOISON_MEMORY_REGION(begin, size) static_cast<void>(begin)
#endif

namespace espalier::rig {
namespace {

constexpr size_t arena_bytes = size_t{64} << 30;  // of addresses; memory comes when it is touched
constexpr size_t alignment = 256;                 // what cudaMalloc promises

/// Addresses are not used twice: a pointer that outlives its block always faults or reads poison.
class Arena {
public:
    Arena() {
        void* base =
            mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) throw std::bad_alloc();
        base_ = static_cast<char*>(base);
    }

    void* allocate(size_t bytes) {
        if (used_ + bytes > memory_limit()) return nullptr;
        const size_t size = (bytes + 2 * alignment - 1) / alignment * alignment;  // with a redzone
        if (next_ + size > arena_bytes) throw std::bad_alloc();
        char* const block = base_ + next_;
        next_ += size;
        const Reach reach;
        mprotect(base_, next_, PROT_READ | PROT_WRITE);
        ASAN_POISON_MEMORY_REGION(block, size);
        ASAN_UNPOISON_MEMORY_REGION(block, bytes);
        std::memset(block, 0xff, bytes);
        sizes_[block] = bytes;
        used_ += bytes;
        return block;
    }

    void release(void* memory) {
        const auto found = sizes_.find(static_cast<char*>(memory));
        if (found == sizes_.end()) return;
        used_ -= found->second;
        const Reach reach;
        ASAN_UNPOISON_MEMORY_REGION(found->first, found->second);
        std::memset(found->first, 0xff, found->second);
        give_back(found->first, found->second);
        ASAN_POISON_MEMORY_REGION(found->first, found->second);
        sizes_.erase(found);
    }

    void open() {
        if (depth_++ == 0 && next_ > 0) mprotect(base_, next_, PROT_READ | PROT_WRITE);
    }
    void close() {
        if (--depth_ == 0 && next_ > 0) mprotect(base_, next_, PROT_NONE);
    }
    size_t used() const { return used_; }

private:
    /// The system gets the pages that lie within a freed block.
    static void give_back(char* block, size_t bytes) {
        constexpr uintptr_t page = 4096;
        const uintptr_t begin = (reinterpret_cast<uintptr_t>(block) + page - 1) / page * page;
        const uintptr_t end = (reinterpret_cast<uintptr_t>(block) + bytes) / page * page;
        if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }

    char* base_ = nullptr;
    size_t next_ = 0;
    size_t used_ = 0;
    int depth_ = 0;
    std::map<char*, size_t> sizes_;
};

Arena& arena() {
    static auto* the_one = new Arena;  // tensors of static objects outlive it otherwise
    return *the_one;
}

}  // namespace

void* allocate(size_t bytes) {
    return arena().allocate(bytes);
}
void release(void* memory) {
    arena().release(memory);
}
size_t memory_limit() {
    const char* bytes = std::getenv("ESPALIER_RIG_MEMORY");
    return bytes ? std::strtoull(bytes, nullptr, 10) : size_t{4} << 30;
}
size_t memory_used() {
    return arena().used();
}

Reach::Reach() {
    arena().open();
}
Reach::~Reach() {
    arena().close();
}

}  // namespace espalier::rig
