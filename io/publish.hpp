// Nothing is lost: files and folders appear under their name only when they are whole and on the disk.
#pragma once

#include <string>

namespace espalier::io {

/// Writes content beside `path`, fsyncs, renames, fsyncs the folder. Throws UserError (full disk, no
/// permission).
void write_file(const std::string& path, const std::string& content);
/// The whole file; UserError when it cannot be read or is larger than `limit` bytes.
std::string read_file(const std::string& path, size_t limit = size_t{1} << 30);
/// fsyncs `from`, renames it to `to` (replacing it), fsyncs the folder that holds it. For files and folders.
void publish(const std::string& from, const std::string& to);
/// Throws UserError when `path` exists and may not be replaced, or its folder does not exist or cannot be
/// written to.
void check_output(const std::string& path, bool replace);

}  // namespace espalier::io
