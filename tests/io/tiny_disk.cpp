#include "tests/io/tiny_disk.hpp"

#include <sched.h>
#include <sys/mount.h>

#include <string>

namespace espalier::test {

std::unique_ptr<TinyDisk> TinyDisk::mount(size_t bytes) {
    std::unique_ptr<TinyDisk> disk(new TinyDisk);
    const std::string options = "size=" + std::to_string(bytes);
    const bool mounted = ::unshare(CLONE_NEWNS) == 0 &&
                         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         ::mount("tmpfs", disk->folder_.path().c_str(), "tmpfs", 0, options.c_str()) == 0;
    if (!mounted) return nullptr;
    return disk;
}

TinyDisk::~TinyDisk() {
    ::umount2(folder_.path().c_str(), MNT_DETACH);
}

}  // namespace espalier::test
