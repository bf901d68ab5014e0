#include "io/publish.hpp"

#include <gmock/gmock.h>

#include "src/core/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

size_t files_in(const fs::path& folder) {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(Publish, WrittenContentIsReadBackAndNothingIsLeftBeside) {
    const test::TemporaryFolder folder;
    const std::string content("with\0a nul and\n lines", 21);

    write_file(folder / "file", "old");
    write_file(folder / "file", content);

    EXPECT_EQ(read_file(folder / "file"), content);
    EXPECT_EQ(files_in(folder.path()), 1U);
}

TEST(Publish, AFailedWriteLeavesTheOldFileAndNothingElse) {
    const test::TemporaryFolder folder;
    fs::create_directories(folder / "file" / "not empty");

    EXPECT_THAT([&] { write_file(folder / "file", "content"); },
                ThrowsMessage<UserError>(HasSubstr("cannot rename")));

    EXPECT_TRUE(fs::is_directory(folder / "file"));
    EXPECT_EQ(files_in(folder.path()), 1U);
}

TEST(Publish, RenamesAWholeFolder) {
    const test::TemporaryFolder folder;
    fs::create_directory(folder / "model.partial");
    write_file(folder / "model.partial/config.json", "{}");

    publish(folder / "model.partial", folder / "model");

    EXPECT_EQ(read_file(folder / "model/config.json"), "{}");
    EXPECT_EQ(files_in(folder.path()), 1U);
}

TEST(Publish, ExchangesAFolderForAWholeOne) {
    const test::TemporaryFolder folder;
    for (const char* name : {"old", "new"}) {
        fs::create_directory(folder / name);
        write_file(folder / name / "name", name);
    }

    publish_over(folder / "new", folder / "old");

    EXPECT_EQ(read_file(folder / "old" / "name"), "new");
    EXPECT_EQ(files_in(folder.path()), 1U);
    publish_over(folder / "old", folder / "fresh");
    EXPECT_EQ(read_file(folder / "fresh" / "name"), "new");
    EXPECT_EQ(files_in(folder.path()), 1U);
}

TEST(Publish, ReadingStopsAtTheLimit) {
    const test::TemporaryFolder folder;
    write_file(folder / "file", "12345");

    EXPECT_EQ(read_file(folder / "file", 5), "12345");
    EXPECT_THAT([&] { read_file(folder / "file", 4); },
                ThrowsMessage<UserError>(HasSubstr("more than the 4")));
    EXPECT_THAT([&] { read_file(folder.path()); }, ThrowsMessage<UserError>(HasSubstr("not a regular file")));
    EXPECT_THAT([&] { read_file(folder / "none"); }, ThrowsMessage<UserError>(HasSubstr("No such file")));
}

TEST(Publish, AnAttemptTellsWhetherAFileCanBeWritten) {
    const test::TemporaryFolder folder;
    write_file(folder / "file", "content");

    EXPECT_NO_THROW(try_output(folder / "new"));
    EXPECT_NO_THROW(try_output(folder / "file"));
    EXPECT_THAT([&] { try_output(folder / std::string(251, 'x')); },  // no room for .partial
                ThrowsMessage<UserError>(HasSubstr("File name too long")));

    EXPECT_EQ(read_file(folder / "file"), "content");
    EXPECT_EQ(files_in(folder.path()), 1U);
}

TEST(Publish, AnOutputMayNotExistUnlessItIsToBeReplaced) {
    const test::TemporaryFolder folder;
    write_file(folder / "file", "");

    EXPECT_THAT([&] { check_output(folder / "file", Existing::keep); },
                ThrowsMessage<UserError>(HasSubstr("--force")));
    EXPECT_NO_THROW(check_output(folder / "file", Existing::replace));
    EXPECT_NO_THROW(check_output(folder / "new", Existing::keep));
    EXPECT_NO_THROW(check_output("a file in the working folder", Existing::keep));
    EXPECT_THAT([&] { check_output(folder / "no/file", Existing::replace); },
                ThrowsMessage<UserError>(HasSubstr("no folder")));
    EXPECT_NO_THROW(check_output(folder / "new/", Existing::keep, Output::folder));
    EXPECT_THAT([] { check_output("/dev/null", Existing::replace); },
                ThrowsMessage<UserError>(HasSubstr("a device")));
}

}  // namespace
}  // namespace espalier::io
