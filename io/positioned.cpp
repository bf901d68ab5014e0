#include "io/positioned.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "io/damage.hpp"
#include "io/system_error.hpp"
#include "src/core/error.hpp"

namespace espalier::io {
namespace {

// Linux moves at most 2^31 - 4096 bytes a call.
constexpr size_t largest_transfer = size_t{1} << 30;

bool is_full(int error) {
    return error == ENOSPC || error == EDQUOT;
}

[[noreturn]] void fail_full(const std::string& path, int64_t needed, int64_t available) {
    ESPALIER_REQUIRE(
        available < needed,
        "cannot write {}: the disk takes no more here, as where a quota is used up; free some or "
        "write elsewhere",
        path);
    fail("no space left writing {}: need {} bytes, {} are free; free some or write elsewhere", path, needed,
         available);
}

[[noreturn]] void fail_too_large(const std::string& path) {
    fail(
        "cannot write {}: files may not be that large here; raise `ulimit -f`, or write to another file "
        "system",
        path);
}

int64_t free_bytes(int descriptor) {
    struct statvfs status = {};
    if (::fstatvfs(descriptor, &status) != 0) return 0;
    return static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
}

int64_t allocated_bytes(int descriptor) {
    struct stat status = {};
    return ::fstat(descriptor, &status) == 0 ? status.st_blocks * 512 : 0;
}

}  // namespace

void write_at(int descriptor, int64_t offset, std::span<const std::byte> bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t n =
            ::pwrite(descriptor, bytes.data(), std::min(bytes.size(), largest_transfer), offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && is_full(errno))
            fail_full(path, static_cast<int64_t>(bytes.size()), free_bytes(descriptor));
        if (n < 0 && errno == EFBIG) fail_too_large(path);
        if (n <= 0) fail_of_system("cannot write " + path, errno);
        bytes = bytes.subspan(static_cast<size_t>(n));
        offset += n;
    }
}

void read_at(int descriptor, int64_t offset, std::span<std::byte> bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t n = ::pread(descriptor, bytes.data(), std::min(bytes.size(), largest_transfer), offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail_of_system("cannot read " + path, errno);
        if (n == 0)
            fail_damaged("{} is truncated: it ends at byte {}, {} bytes too early", path, offset,
                         bytes.size());
        bytes = bytes.subspan(static_cast<size_t>(n));
        offset += n;
    }
}

void expect_allowed(int64_t size, const std::string& path) {
    rlimit limit = {};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < static_cast<rlim_t>(size))
        fail_too_large(path);
}

void reserve(int descriptor, int64_t size, const std::string& path) {
    if (size == 0) return;
    expect_allowed(size, path);  // some file systems reserve what they then do not let us write
    const int64_t missing = std::max<int64_t>(0, size - allocated_bytes(descriptor));
    // Asked first: some file systems keep what they could take of a space that they cannot.
    if (free_bytes(descriptor) < missing) fail_full(path, missing, free_bytes(descriptor));
    int result = 0;
    do {
        result = ::fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, size);
    } while (result != 0 && errno == EINTR);
    if (result == 0) return;
    if (is_full(errno)) fail_full(path, missing, free_bytes(descriptor));
    if (errno == EFBIG) fail_too_large(path);
    if (errno != EOPNOTSUPP && errno != ENOSYS) fail_of_system("cannot write " + path, errno);
    // The file system has no such call: every write is checked as it happens.
}

}  // namespace espalier::io
