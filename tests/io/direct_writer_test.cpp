#include "io/direct_writer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "io/publish.hpp"
#include "src/core/error.hpp"
#include "src/core/random.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::io {
namespace {

constexpr size_t mebibyte = size_t{1} << 20;

class Direct : public testing::Test {
protected:
    std::string path() const { return folder_ / "file"; }

    /// What the file is to hold, and the file itself, of zeros.
    Direct() {
        for (size_t i = 0; i < content_.size(); ++i) content_[i] = static_cast<char>(mix64(i));
        write_file(path(), std::string(content_.size(), '\0'));
    }
    void write(DirectWriter& writer, size_t begin, size_t end) {
        writer.write(static_cast<int64_t>(begin),
                     std::as_bytes(std::span(content_).subspan(begin, end - begin)));
    }
    void expect_whole() { EXPECT_TRUE(read_file(path()) == content_); }

    test::TemporaryFolder folder_;
    std::string content_ = std::string(37 * mebibyte + 1234, '\0');
};

TEST_F(Direct, RunsThatBeginAndEndAnywhereMakeTheFile) {
    const Descriptor cached(::open(path().c_str(), O_WRONLY | O_CLOEXEC));
    DirectWriter writer(path(), cached.get(), path());
    // Backwards, so that none goes on where the one before ended; more than there are blocks.
    std::vector<size_t> borders{0, 5, 4096, 4097, 70'000, 4 * mebibyte, 4 * mebibyte + 1, 9 * mebibyte - 3};
    for (size_t border = 9 * mebibyte; border < content_.size(); border += mebibyte + 777)
        borders.push_back(border);
    borders.push_back(content_.size());

    for (size_t i = borders.size() - 1; i > 0; --i) write(writer, borders[i - 1], borders[i]);
    writer.flush();

    expect_whole();
}

TEST_F(Direct, PiecesThatGoOnMakeOneRunWithShortOnesBetween) {
    const Descriptor cached(::open(path().c_str(), O_WRONLY | O_CLOEXEC));
    DirectWriter writer(path(), cached.get(), path());
    const size_t late = 100, early = 3000;

    for (size_t begin = early, n = 300'000; begin < content_.size(); begin += n, n = n % 1'000'003 + 777) {
        if (begin > 20 * mebibyte && begin < 21 * mebibyte) write(writer, 0, late);
        write(writer, begin, std::min(begin + n, content_.size()));
    }
    write(writer, 0, late);
    write(writer, late, early);
    writer.flush();

    expect_whole();
}

TEST_F(Direct, WithoutSuchAWayTheCacheTakesAll) {
    const Descriptor cached(::open(path().c_str(), O_WRONLY | O_CLOEXEC));
    DirectWriter writer(folder_ / "none", cached.get(), path());

    write(writer, 0, content_.size());
    writer.flush();

    expect_whole();
}

TEST_F(Direct, SaysWhyAFileTakesNothing) {
    const Descriptor unwritable(::open(path().c_str(), O_RDONLY | O_CLOEXEC));
    DirectWriter writer(path(), unwritable.get(), path());

    EXPECT_THROW(
        {
            write(writer, 1, content_.size());
            writer.flush();
        },
        UserError);
}

}  // namespace
}  // namespace espalier::io
