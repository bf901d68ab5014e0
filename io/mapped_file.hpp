// A file mapped into memory for reading.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace espalier::io {

/// Throws UserError when the file is missing, unreadable, not a regular file, or a Git LFS pointer instead of
/// content. The file must not shrink while it is mapped.
class MappedFile {
public:
    /// What the system may read ahead of: `in_order` much, `at_random` little.
    enum class Access { in_order, at_random };
    explicit MappedFile(std::string path, Access access = Access::in_order);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const std::string& path() const { return path_; }
    size_t size() const { return bytes_.size(); }
    std::span<const std::byte> bytes() const { return bytes_; }

    /// Gives the pages of [begin, begin + count) back, so that reading a file from end to end keeps only what
    /// is in hand resident. The bytes stay readable: touching them again loads them again.
    void release(size_t begin, size_t count) const noexcept;

private:
    std::string path_;
    std::span<const std::byte> bytes_;
};

}  // namespace espalier::io
