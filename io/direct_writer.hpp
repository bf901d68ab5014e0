// Writing past the system's cache (O_DIRECT): the device fetches whole blocks by itself, where the cache
// would have a core copy every byte and manage its pages, a core that others compute on.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/descriptor.hpp"

namespace espalier::io {

/// Puts pieces of a file together to aligned blocks, which threads of its own write. The pages that a run of
/// bytes shares with others, runs too short for it, and what the file system does not take this way go
/// through the cache: no page is written both ways. For one thread at a time.
class DirectWriter {
public:
    /// What one holds.
    static constexpr int64_t block_bytes = int64_t{4} << 20, block_count = 4,
                             memory_bytes = block_count * block_bytes;

    /// Of the file `partial`, which is open for writing as `cached` and as long as it will be; `path` is the
    /// name to show in messages.
    DirectWriter(const std::string& partial, int cached, std::string path);
    /// Waits for blocks on their way; bytes that were not flushed are lost.
    ~DirectWriter();
    DirectWriter(const DirectWriter&) = delete;
    DirectWriter& operator=(const DirectWriter&) = delete;

    /// Copies the bytes. Those that go on where the last call's end make one run with them. Throws what an
    /// earlier write failed with: UserError.
    void write(int64_t offset, std::span<const std::byte> bytes);
    /// Everything is with the device or in the cache on return; what it takes to survive is fsync's.
    void flush();

private:
    /// Bytes [begin, end) of the file, in memory that stands for a whole block of it.
    struct Block {
        struct Free {
            void operator()(std::byte* block) const noexcept;
        };
        std::unique_ptr<std::byte, Free> memory;
        int64_t begin = 0, end = 0;

        std::span<std::byte> bytes(int64_t from, int64_t to);
    };

    void end_threads();
    void open_block(int64_t offset);
    void submit();
    void write_blocks();
    void write(Block& block) const;
    void rethrow_failure();

    Descriptor direct_;  // none where the file system has no such way
    int cached_;
    std::string path_;
    std::vector<Block> blocks_;
    Block* open_ = nullptr;  // that write() fills

    std::mutex mutex_;  // of what follows
    std::condition_variable changed_;
    std::deque<Block*> free_, full_;
    std::exception_ptr failure_;
    bool ends_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace espalier::io
