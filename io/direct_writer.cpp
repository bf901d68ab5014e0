#include "io/direct_writer.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "io/positioned.hpp"

namespace espalier::io {
namespace {

// What O_DIRECT asks of offsets, sizes and memory is at most a page on the disks there are.
constexpr int64_t page = 4096;
// With one block being filled and one waiting: a device that has its next request already does not pause.
constexpr int64_t thread_count = DirectWriter::block_count - 2;
// Shorter runs are not worth a request of their own.
constexpr int64_t shortest_run = int64_t{64} << 10;

int64_t down(int64_t offset, int64_t unit) {
    return offset / unit * unit;
}

/// Of huge pages where there are any, which make large requests.
std::byte* allocate_block() {
    constexpr size_t bytes = DirectWriter::block_bytes;
    void* memory = nullptr;
    if (::posix_memalign(&memory, bytes, bytes) != 0) throw std::bad_alloc();
    ::madvise(memory, bytes, MADV_HUGEPAGE);
    return static_cast<std::byte*>(memory);
}

}  // namespace

void DirectWriter::Block::Free::operator()(std::byte* block) const noexcept {
    std::free(block);
}

std::span<std::byte> DirectWriter::Block::bytes(int64_t from, int64_t to) {
    return {memory.get() + from % block_bytes, static_cast<size_t>(to - from)};
}

DirectWriter::DirectWriter(const std::string& partial, int cached, std::string path)
    : direct_(::open(partial.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC)),
      cached_(cached),
      path_(std::move(path)) {
    if (!direct_) return;
    for (int64_t i = 0; i < block_count; ++i)
        blocks_.push_back({std::unique_ptr<std::byte, Block::Free>(allocate_block())});
    for (auto& block : blocks_) free_.push_back(&block);
    try {
        for (int64_t i = 0; i < thread_count; ++i) threads_.emplace_back([this] { write_blocks(); });
    } catch (...) {  // the system has no more threads
        end_threads();
        throw;
    }
}

DirectWriter::~DirectWriter() {
    end_threads();
}

void DirectWriter::end_threads() {
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void DirectWriter::write(int64_t offset, std::span<const std::byte> bytes) {
    const bool goes_on = open_ && open_->end == offset;
    if (!direct_ || (!goes_on && std::ssize(bytes) < shortest_run))
        return write_at(cached_, offset, bytes, path_);
    if (!goes_on) submit();
    while (!bytes.empty()) {
        if (!open_) open_block(offset);
        const auto n = std::min(std::ssize(bytes), down(offset, block_bytes) + block_bytes - offset);
        std::memcpy(open_->bytes(offset, offset + n).data(), bytes.data(), static_cast<size_t>(n));
        offset += n;
        bytes = bytes.subspan(static_cast<size_t>(n));
        open_->end = offset;
        if (offset % block_bytes == 0) submit();
    }
}

void DirectWriter::flush() {
    submit();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return free_.size() == blocks_.size(); });
    rethrow_failure();
}

void DirectWriter::open_block(int64_t offset) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !free_.empty(); });
    rethrow_failure();
    open_ = free_.front();
    free_.pop_front();
    open_->begin = open_->end = offset;
}

void DirectWriter::submit() {
    if (!open_) return;
    {
        const std::lock_guard lock(mutex_);
        full_.push_back(std::exchange(open_, nullptr));
    }
    changed_.notify_all();
}

void DirectWriter::write_blocks() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return ends_ || !full_.empty(); });
        if (full_.empty()) return;
        Block* block = full_.front();
        full_.pop_front();
        lock.unlock();
        std::exception_ptr failure;
        try {
            write(*block);
        } catch (...) {
            failure = std::current_exception();
        }
        lock.lock();
        if (failure && !failure_) failure_ = failure;
        free_.push_back(block);
        changed_.notify_all();
    }
}

void DirectWriter::write(Block& block) const {
    const int64_t begin = std::min(down(block.begin + page - 1, page), block.end),
                  end = std::max(down(block.end, page), begin);
    int64_t direct = 0;
    if (begin < end) {
        const auto middle = block.bytes(begin, end);
        direct = std::max<int64_t>(::pwrite(direct_.get(), middle.data(), middle.size(), begin), 0);
    }
    write_at(cached_, block.begin, block.bytes(block.begin, begin), path_);
    // What the device did not take, the cache does, or says why not.
    write_at(cached_, begin + direct, block.bytes(begin + direct, block.end), path_);
}

void DirectWriter::rethrow_failure() {
    if (failure_) std::rethrow_exception(failure_);
}

}  // namespace espalier::io
