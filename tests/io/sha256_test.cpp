#include "io/sha256.hpp"

#include <gmock/gmock.h>

#include "io/publish.hpp"
#include "src/core/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::io {
namespace {

// Test vectors of FIPS 180-4.
TEST(Sha256, OfAbcIsTheStandards) {
    Sha256 hash;

    hash.update("a");
    hash.update("bc");

    EXPECT_EQ(hash.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, OfNothingIsTheStandards) {
    EXPECT_EQ(Sha256().hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, OfAFileIsThatOfItsContent) {
    const test::TemporaryFolder folder;
    const std::string content(3'000'001, 'a');  // longer than the buffer
    write_file(folder / "file", content);
    Sha256 hash;
    hash.update(content);

    EXPECT_EQ(sha256_of_file(folder / "file"), hash.hex());
}

TEST(Sha256, OfAMissingFileIsTheUsersError) {
    EXPECT_THROW(sha256_of_file("/nowhere/at/all"), UserError);
}

}  // namespace
}  // namespace espalier::io
