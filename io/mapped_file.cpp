#include "io/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "io/descriptor.hpp"
#include "io/system_error.hpp"
#include "src/core/error.hpp"

namespace espalier::io {
namespace {

// Hugging Face repositories cloned without git-lfs hold 130-byte stand-ins under the names of the weights.
bool is_lfs_pointer(int descriptor) {
    constexpr std::string_view magic = "version https://git-lfs.github.com/spec/";
    char head[magic.size()];
    return ::pread(descriptor, head, sizeof head, 0) == sizeof head &&
           std::string_view(head, sizeof head) == magic;
}

}  // namespace

MappedFile::MappedFile(std::string path, Access access) : path_(std::move(path)) {
    const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status = {};
    if (!file || ::fstat(file.get(), &status) != 0) fail_of_system("cannot read " + path_, errno);
    ESPALIER_REQUIRE(S_ISREG(status.st_mode), "cannot read {}: it is not a regular file", path_);
    ESPALIER_REQUIRE(!is_lfs_pointer(file.get()),
                     "{} is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder", path_);
    if (status.st_size == 0) return;
    const auto size = static_cast<size_t>(status.st_size);
    void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (memory == MAP_FAILED) fail_of_system(fmt::format("cannot map {} into memory", path_), errno);
    ::madvise(memory, size, access == Access::in_order ? MADV_SEQUENTIAL : MADV_NORMAL);
    bytes_ = {static_cast<const std::byte*>(memory), size};
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release(size_t begin, size_t count) const noexcept {
    if (count == 0 || begin >= size()) return;
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t first = begin / page * page;
    const size_t last = count < size() - begin ? begin + count : size();
    ::madvise(const_cast<std::byte*>(bytes_.data() + first), last - first, MADV_DONTNEED);
}

}  // namespace espalier::io
