// Reading and writing at a place in a file, to the last byte or with the reason why not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace espalier::io {

/// `path` is the name to show in messages. Throws UserError on a full disk or any other failure.
void write_at(int descriptor, int64_t offset, std::span<const std::byte> bytes, const std::string& path);
/// Throws DamagedFile where the file ends before the last byte, UserError where the system cannot read it.
void read_at(int descriptor, int64_t offset, std::span<std::byte> bytes, const std::string& path);
/// Throws UserError where no file may have `size` bytes (`ulimit -f`).
void expect_allowed(int64_t size, const std::string& path);
/// Takes the disk space of [0, size) without making the file longer, so that later writes there cannot run
/// out of it; throws UserError with the bytes that are missing.
void reserve(int descriptor, int64_t size, const std::string& path);

}  // namespace espalier::io
