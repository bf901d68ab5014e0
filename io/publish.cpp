#include "io/publish.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "io/positioned.hpp"
#include "io/system_error.hpp"
#include "io/temporary.hpp"
#include "src/core/error.hpp"

namespace espalier::io {
namespace {

/// That a name stands in; "new/" names "new" in the working folder.
std::string folder_of(const std::string& path) {
    const auto parent = (std::filesystem::path(path) / "").parent_path().parent_path();
    return parent.empty() ? "." : parent.string();
}

void sync(const std::string& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file || ::fsync(file.get()) != 0) fail_of_system("cannot bring " + path + " to the disk", errno);
}

void rename(const std::string& from, const std::string& to) {
    if (std::rename(from.c_str(), to.c_str()) != 0)
        fail_of_system("cannot rename " + from + " to " + to, errno);
}

/// An empty file of this name; `path` is what messages call it. What a killed job left under it may be
/// another user's.
Descriptor open_new(const std::string& name, const std::string& path) {
    ::unlink(name.c_str());
    Descriptor file(::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!file) fail_of_system("cannot write " + path, errno);
    return file;
}

}  // namespace

void write_file(const std::string& path, const std::string& content) {
    Temporary partial(path + ".partial");
    const Descriptor file = open_new(partial.path(), path);
    write_at(file.get(), 0, std::as_bytes(std::span(content)), path);
    partial.publish_as(path);
}

std::string read_file(const std::string& path, size_t limit) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status = {};
    if (!file || ::fstat(file.get(), &status) != 0) fail_of_system("cannot read " + path, errno);
    ESPALIER_REQUIRE(S_ISREG(status.st_mode), "cannot read {}: it is not a regular file", path);
    const auto size = static_cast<size_t>(status.st_size);
    ESPALIER_REQUIRE(size <= limit, "{} has {} bytes, more than the {} that such a file may have", path, size,
                     limit);
    std::string content(size, '\0');
    read_at(file.get(), 0, std::as_writable_bytes(std::span(content)), path);
    return content;
}

void publish(const std::string& from, const std::string& to) {
    sync(from);
    rename(from, to);
    sync(folder_of(to));
}

void publish_over(const std::string& from, const std::string& to) {
    std::error_code ignored;
    if (!std::filesystem::exists(to, ignored)) return publish(from, to);
    sync(from);
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
        sync(folder_of(to));
        std::filesystem::remove_all(from, ignored);
        return;
    }
    // A file system that cannot exchange two names.
    const std::string old = to + ".replaced";
    std::filesystem::remove_all(old, ignored);
    rename(to, old);
    try {
        publish(from, to);
    } catch (...) {
        std::rename(old.c_str(), to.c_str());
        throw;
    }
    std::filesystem::remove_all(old, ignored);
}

ReservedSpace::ReservedSpace(const std::string& path, int64_t bytes)
    : file_([&] {
          const Temporary name(path + ".reserved");
          return open_new(name.path(), path);
      }()) {
    reserve(file_.get(), bytes, path);
}

std::string without_slash(const std::string& folder) {
    const std::string out = std::filesystem::path(folder).lexically_normal().string();
    return out.size() > 1 && out.ends_with('/') ? out.substr(0, out.size() - 1) : out;
}

void make_folder(const std::string& path) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) return;
    const std::string parent = folder_of(path);
    if (!std::filesystem::exists(parent, error)) make_folder(parent);
    std::filesystem::create_directory(path, error);
    if (error) fail_of_system("cannot make the folder " + path, error.value());
    ESPALIER_REQUIRE(std::filesystem::is_directory(path, error),
                     "cannot make the folder {}: a file has that name", path);
    sync(parent);
}

void check_input(const std::string& path) {
    std::error_code error;
    const bool exists = std::filesystem::exists(path, error);
    if (error) fail_of_system(path, error.value());
    ESPALIER_REQUIRE(exists, "{}: no such file or folder", path);
}

void check_place(const std::string& path) {
    ESPALIER_REQUIRE(!path.empty(), "an output has an empty name");
    const std::string folder = folder_of(path);
    struct stat status = {};
    if (::stat(folder.c_str(), &status) != 0 && may_pass(errno))
        fail_of_system("cannot write " + path, errno);
    ESPALIER_REQUIRE(S_ISDIR(status.st_mode), "cannot write {}: there is no folder {}; create it first", path,
                     folder);
    ESPALIER_REQUIRE(::access(folder.c_str(), W_OK | X_OK) == 0,
                     "cannot write {}: no permission to write in {}", path, folder);
    ESPALIER_REQUIRE(::access(folder.c_str(), R_OK) == 0,
                     "cannot write {}: no permission to read {}, which is opened to bring names to the disk",
                     path, folder);
}

void put_back_replaced(const std::string& path) {
    const std::string old = path + ".replaced";
    std::error_code error;
    if (!std::filesystem::exists(std::filesystem::symlink_status(old, error))) return;
    if (std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
        std::filesystem::remove_all(old, error);
    } else {
        rename(old, path);
    }
}

void check_output(const std::string& path, Existing existing, Output kind) {
    ESPALIER_REQUIRE(
        kind == Output::folder || !path.ends_with('/'),
        "{}: is the name of a folder, for what is a file; leave the slash out, or name a file in it", path);
    check_place(path);
    struct stat status = {};
    if (::lstat(path.c_str(), &status) != 0) return;
    ESPALIER_REQUIRE(existing == Existing::replace, "{} exists; give --force to replace it, or another --out",
                     path);
    ESPALIER_REQUIRE(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISLNK(status.st_mode),
                     "{}: is a device or a pipe, which --force does not replace; choose another --out", path);
    std::error_code error;
    ESPALIER_REQUIRE((kind == Output::folder) == std::filesystem::is_directory(path, error),
                     "{}: is {}; choose another --out", path,
                     kind == Output::folder ? "no folder" : "a folder");
    // What is made beside it is to take its name by a rename.
    struct stat beside = {};
    ESPALIER_REQUIRE(
        kind == Output::file || S_ISLNK(status.st_mode) || ::stat(folder_of(path).c_str(), &beside) != 0 ||
            beside.st_dev == status.st_dev,
        "{}: is a file system of its own, whose name nothing else can take; choose a folder in it "
        "as --out",
        path);
}

void try_output(const std::string& path) {
    const Temporary partial(path + ".partial");
    open_new(partial.path(), path);
}

}  // namespace espalier::io
