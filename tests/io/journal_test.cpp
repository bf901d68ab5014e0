#include "io/journal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "tests/support/temporary_folder.hpp"

namespace espalier::io {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

bool never(const std::string&) {
    return false;
}

class Journal : public testing::Test {
protected:
    std::string path(const std::string& name) const { return (folder_ / name).string(); }
    void write(const std::string& content) const { std::ofstream(path("lines")) << content; }

private:
    test::TemporaryFolder folder_;
};

/// Runs `work` in a process of its own, which ends without running anything of this one's; its result is the
/// exit code.
pid_t in_a_process(const std::function<int()>& work) {
    const pid_t child = fork();
    if (child == 0) _exit(work());
    return child;
}

int exit_code_of(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Journal, IsEmptyWithoutAFile) {
    EXPECT_THAT(read_lines(path("lines")), IsEmpty());
}

TEST_F(Journal, KeepsLinesInOrder) {
    append_line(path("lines"), "one", never);
    append_line(path("lines"), "two", never);

    EXPECT_THAT(read_lines(path("lines")), ElementsAre("one", "two"));
}

TEST_F(Journal, DropsATornLastLineAndWritesOverIt) {
    write("one\ntw");

    const auto before = read_lines(path("lines"));
    append_line(path("lines"), "three", never);

    EXPECT_THAT(before, ElementsAre("one"));
    EXPECT_THAT(read_lines(path("lines")), ElementsAre("one", "three"));
}

TEST_F(Journal, DoesNotAddWhatIsThere) {
    write("a 1\n");
    const auto begins_with_a = [](const std::string& line) { return line.starts_with("a "); };

    EXPECT_FALSE(append_line(path("lines"), "a 2", begins_with_a));
    EXPECT_THAT(read_lines(path("lines")), ElementsAre("a 1"));
}

TEST_F(Journal, LosesAndDoublesNothingWhenProcessesWriteAtTheSameTime) {
    constexpr int processes = 6, lines = 50;
    std::vector<pid_t> children;
    for (int p = 0; p < processes; ++p) {
        children.push_back(in_a_process([&] {
            for (int i = 0; i < lines; ++i) {
                // Pairs of processes write the same lines.
                const auto line = std::to_string(p / 2) + " " + std::to_string(i) + std::string(200, '.');
                append_line(path("lines"), line, [&](const std::string& there) { return there == line; });
            }
            return 0;
        }));
    }
    for (const pid_t child : children) ASSERT_EQ(exit_code_of(child), 0);

    const auto found = read_lines(path("lines"));

    EXPECT_EQ(found.size(), size_t{processes / 2 * lines});
    EXPECT_EQ(std::set<std::string>(found.begin(), found.end()).size(), found.size());
}

TEST_F(Journal, LocksOutOtherProcessesUntilTheLockIsDropped) {
    auto held = try_lock(path("lock"));
    ASSERT_TRUE(held);
    const auto locked_elsewhere = [&] {
        return exit_code_of(in_a_process([&] { return try_lock(path("lock")) ? 1 : 0; })) == 0;
    };

    const bool while_held = locked_elsewhere();
    held.reset();

    EXPECT_TRUE(while_held);
    EXPECT_FALSE(locked_elsewhere());
}

}  // namespace
}  // namespace espalier::io
