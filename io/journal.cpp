#include "io/journal.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "io/positioned.hpp"
#include "io/publish.hpp"
#include "io/system_error.hpp"
#include "src/core/error.hpp"

namespace espalier::io {
namespace {

Descriptor open_shared(const std::string& path) {
    Descriptor file(::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
    if (!file) fail_of_system("cannot write " + path, errno);
    return file;
}

struct flock whole_file() {
    struct flock out = {};
    out.l_type = F_WRLCK;
    out.l_whence = SEEK_SET;
    return out;
}

bool says_no_locks(int error) {
    return error == ENOSYS || error == ENOLCK || error == EOPNOTSUPP;
}

/// fcntl with a lock on the whole file; false where another process has it. File systems without locks count
/// as locked.
bool lock(const Descriptor& file, int command, const std::string& path) {
    struct flock whole = whole_file();
    while (::fcntl(file.get(), command, &whole) != 0) {
        if (errno == EINTR) continue;
        if (errno == EAGAIN || errno == EACCES) return false;
        if (says_no_locks(errno)) return true;
        fail_of_system("cannot lock " + path, errno);
    }
    return true;
}

bool has_name(const Descriptor& file, const std::string& path) {
    struct stat opened = {}, named = {};
    return ::fstat(file.get(), &opened) == 0 && opened.st_nlink > 0 && ::stat(path.c_str(), &named) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

std::vector<std::string> whole_lines(const std::string& content) {
    std::vector<std::string> out;
    for (size_t begin = 0, end; (end = content.find('\n', begin)) != std::string::npos; begin = end + 1)
        out.push_back(content.substr(begin, end - begin));
    return out;
}

}  // namespace

std::vector<std::string> read_lines(const std::string& path) {
    if (!std::filesystem::exists(path)) return {};
    return whole_lines(read_file(path));
}

bool append_line(const std::string& path, const std::string& line,
                 const std::function<bool(const std::string&)>& same) {
    const Descriptor file = open_shared(path);
    lock(file, F_SETLKW, path);
    struct stat status = {};
    if (::fstat(file.get(), &status) != 0) fail_of_system("cannot read " + path, errno);
    // Read through this descriptor: closing another one of the same file would end the lock.
    std::string content(static_cast<size_t>(status.st_size), '\0');
    read_at(file.get(), 0, std::as_writable_bytes(std::span(content)), path);
    const auto lines = whole_lines(content);
    if (std::any_of(lines.begin(), lines.end(), same)) return false;

    const auto whole =
        static_cast<off_t>(content.rfind('\n') == std::string::npos ? 0 : content.rfind('\n') + 1);
    const auto cut = [&] { return ::ftruncate(file.get(), whole) == 0; };
    if (whole != status.st_size && !cut()) fail_of_system("cannot write " + path, errno);
    const std::string text = line + '\n';
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    const bool done = written == static_cast<ssize_t>(text.size()) && ::fsync(file.get()) == 0;
    if (!done) {
        const bool is_short = written >= 0 && written < static_cast<ssize_t>(text.size());
        const int error = is_short ? ENOSPC : errno;
        cut();
        fail_of_system("cannot write " + path, error);
    }
    return true;
}

std::optional<Descriptor> try_lock(const std::string& path) {
    Descriptor file = open_shared(path);
    if (!lock(file, F_SETLK, path)) return std::nullopt;
    // A holder may have removed it since it was opened: others would lock the next file of this name.
    if (!has_name(file, path)) return std::nullopt;
    return file;
}

bool has_locks(const Descriptor& held) {
    struct flock whole = whole_file();
    return ::fcntl(held.get(), F_GETLK, &whole) == 0 || !says_no_locks(errno);
}

}  // namespace espalier::io
