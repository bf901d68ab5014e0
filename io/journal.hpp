// A file of lines that several programs add to at the same time, and a lock that ends with its holder.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/descriptor.hpp"

namespace espalier::io {

/// The whole lines of a file, in order; none where there is no file. What follows the last newline is what a
/// program was writing when it ended, and is dropped.
std::vector<std::string> read_lines(const std::string& path);

/// Adds `line` and brings it to the disk, unless `same` says of a line that is there that it is this one
/// already. Returns whether it was added. Programs take turns by an fcntl lock, which network file systems
/// honour too; where a file system has no locks, appending in one write has to do. A torn last line is cut
/// off first. Throws UserError on a full disk, leaving the file as it was.
bool append_line(const std::string& path, const std::string& line,
                 const std::function<bool(const std::string&)>& same);

/// Makes this process the only holder of `path` until the result is destroyed or the process ends, however it
/// does. Nothing while another process holds it. Its holder may remove the file. Where a file system has no
/// locks, everybody gets one: has_locks() tells.
std::optional<Descriptor> try_lock(const std::string& path);
bool has_locks(const Descriptor& held);

}  // namespace espalier::io
