#include "io/appended_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "tests/support/temporary_folder.hpp"

namespace espalier::test {
namespace {

/// While it lives files may have so many bytes.
class Limit {
public:
    explicit Limit(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit now{bytes, before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &now);
    }
    ~Limit() { setrlimit(RLIMIT_FSIZE, &before_); }
    Limit(const Limit&) = delete;
    Limit& operator=(const Limit&) = delete;

private:
    rlimit before_{};
};

TEST(AppendedFile, WritesLaterWhatTheSystemDidNotTake) {
    const TemporaryFolder folder;
    const std::string path = (folder / "log").string();
    io::AppendedFile log(path, io::Descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666)));
    {
        const Limit limit(10);
        EXPECT_TRUE(log.append("first\n"));

        EXPECT_FALSE(log.append("second\n"));
        EXPECT_FALSE(log.append("third\n"));
        EXPECT_FALSE(log.sync());
        EXPECT_FALSE(log.problem().empty());
    }
    EXPECT_TRUE(log.append("fourth\n"));
    EXPECT_TRUE(log.sync());

    std::ostringstream content;
    content << std::ifstream(path).rdbuf();
    EXPECT_EQ(content.str(), "first\nsecond\nthird\nfourth\n");
}

}  // namespace
}  // namespace espalier::test
