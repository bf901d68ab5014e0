// A log that outlives a disk which takes nothing for a while.
#pragma once

#include <string>
#include <string_view>

#include "io/descriptor.hpp"

namespace espalier::io {

/// What the system does not take is kept, in order, and written with what comes next.
class AppendedFile {
public:
    AppendedFile(std::string path, Descriptor file) : path_(std::move(path)), file_(std::move(file)) {}

    const std::string& path() const { return path_; }
    /// Hands all to the system; false, and problem() says why, where it does not take all.
    bool append(std::string_view bytes);
    /// The same, and all is on the disk.
    bool sync();
    /// The system's word for the last failure.
    const std::string& problem() const { return problem_; }

private:
    bool failed();

    std::string path_;
    Descriptor file_;
    std::string left_;  // not written yet
    std::string problem_;
};

}  // namespace espalier::io
