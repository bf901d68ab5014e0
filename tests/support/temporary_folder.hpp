// A folder for a test's files.
#pragma once

#include <filesystem>
#include <string_view>

namespace espalier::test {

/// One new folder for all ranks, removed with everything in it at the end. Making and ending one are
/// collective over MPI_COMM_WORLD.
class TemporaryFolder {
public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

private:
    std::filesystem::path path_;
};

}  // namespace espalier::test
