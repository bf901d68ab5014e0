// Nothing is lost: files and folders appear under their name only when they are whole and on the disk.
#pragma once

#include <cstdint>
#include <string>

#include "io/descriptor.hpp"

namespace espalier::io {

/// Writes content beside `path`, fsyncs, renames, fsyncs the folder. Throws UserError (full disk, no
/// permission).
void write_file(const std::string& path, const std::string& content);
/// The whole file; UserError when it cannot be read or is larger than `limit` bytes.
std::string read_file(const std::string& path, size_t limit = size_t{1} << 30);
/// fsyncs `from`, renames it to `to` (replacing it), fsyncs the folder that holds it. For files and folders.
void publish(const std::string& from, const std::string& to);
/// The same where `to` may be a folder with something in it. At every moment one of the two has the name; on
/// a file system that cannot exchange two names, the old one is TO.replaced for a moment, and again TO where
/// the new one cannot be.
void publish_over(const std::string& from, const std::string& to);
/// What a job left that was killed in publish_over(): TO.replaced becomes `to` again where that is missing,
/// and goes where it is not. For who alone may write `to`.
void put_back_replaced(const std::string& to);
/// Space of the disk kept for a file that is to come: that of a file without a name, which ends with this or
/// with the process, however it does.
class ReservedSpace {
public:
    /// Throws UserError with the bytes that are missing.
    ReservedSpace(const std::string& path, int64_t bytes);

private:
    Descriptor file_;
};

/// The name of a folder without the slash, `.` or `..` that it may have been given with.
std::string without_slash(const std::string& folder);
/// Makes a folder and those that hold it, where they are not there, and brings their names to the disk.
/// Throws UserError (no permission, a file of that name).
void make_folder(const std::string& path);
/// Throws UserError saying why when `path` cannot be followed to a file or folder.
void check_input(const std::string& path);
/// Throws UserError when the folder that is to hold `path` does not exist or cannot be written to.
void check_place(const std::string& path);
enum class Output { file, folder };
/// What becomes of an output that is there already.
enum class Existing { keep, replace };
/// The same, and when `path` exists and is to be kept or is the other kind.
void check_output(const std::string& path, Existing existing, Output kind = Output::file);
/// Throws UserError when write_file() could not begin, also for what only an attempt tells: a read-only file
/// system, a quota, a name that is too long. Leaves nothing.
void try_output(const std::string& path);

}  // namespace espalier::io
