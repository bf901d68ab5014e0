// A file system of a few kilobytes, to fill.
#pragma once

#include <filesystem>
#include <memory>

#include "tests/support/temporary_folder.hpp"

namespace espalier::test {

/// A tmpfs that this thread alone sees. Made only where the kernel lets us: with the rights to mount.
class TinyDisk {
public:
    /// Nothing where a file system cannot be mounted.
    static std::unique_ptr<TinyDisk> mount(size_t bytes);
    ~TinyDisk();
    TinyDisk(const TinyDisk&) = delete;
    TinyDisk& operator=(const TinyDisk&) = delete;

    std::filesystem::path operator/(std::string_view name) const { return folder_ / name; }
    bool is_empty() const { return std::filesystem::is_empty(folder_.path()); }

private:
    TinyDisk() = default;
    TemporaryFolder folder_;
};

}  // namespace espalier::test
