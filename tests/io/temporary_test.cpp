#include "io/temporary.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/publish.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

TEST(Temporary, GoesUnlessItWasKept) {
    const test::TemporaryFolder folder;
    {
        const Temporary goes(folder / "goes");
        Temporary kept(folder / "kept");
        const Temporary never_made(folder / "never made");
        for (const auto* name : {"goes", "kept"}) write_file(folder / name, "");
        kept.keep();
    }

    EXPECT_FALSE(fs::exists(folder / "goes"));
    EXPECT_TRUE(fs::exists(folder / "kept"));
}

TEST(Temporary, OfAFolderTakesItsContentWhereAsked) {
    const test::TemporaryFolder folder;
    for (const auto* name : {"full", "empty", "own"}) fs::create_directory(folder / name);
    for (const auto* name : {"full/of others", "own/file"}) write_file(folder / name, "");

    {
        const Temporary full(folder / "full"), empty(folder / "empty");
        const Temporary own(folder / "own", Inside::goes);
    }

    EXPECT_TRUE(fs::exists(folder / "full/of others"));
    EXPECT_FALSE(fs::exists(folder / "empty"));
    EXPECT_FALSE(fs::exists(folder / "own"));
}

TEST(Temporary, GoesAtTheEndOfTheProcessTheYoungestFirst) {
    const test::TemporaryFolder folder;
    fs::create_directory(folder / "outer");
    write_file(folder / "outer/inner", "");
    write_file(folder / "kept", "");

    const pid_t child = fork();
    if (child == 0) {
        Temporary outer(folder / "outer"), inner(folder / "outer/inner"), kept(folder / "kept");
        kept.keep();
        remove_temporaries();
        _exit(0);
    }
    ASSERT_EQ(waitpid(child, nullptr, 0), child);

    EXPECT_FALSE(fs::exists(folder / "outer"));
    EXPECT_TRUE(fs::exists(folder / "kept"));
}

}  // namespace
}  // namespace espalier::io
