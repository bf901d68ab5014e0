#include "io/appended_file.hpp"

#include <cerrno>
#include <cstring>

namespace espalier::io {

bool AppendedFile::failed() {
    problem_ = std::strerror(errno);
    return false;
}

bool AppendedFile::append(std::string_view bytes) {
    left_ += bytes;
    while (!left_.empty()) {
        const ssize_t n = ::write(file_.get(), left_.data(), left_.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return failed();
        left_.erase(0, static_cast<size_t>(n));
    }
    return true;
}

bool AppendedFile::sync() {
    return append({}) && (::fsync(file_.get()) == 0 || failed());
}

}  // namespace espalier::io
