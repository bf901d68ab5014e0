#include "io/event_file.hpp"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/temporary_folder.hpp"

namespace espalier::test {
namespace {

using namespace std::string_literals;

std::string content_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Crc32c, IsThatOfRfc3720) {
    std::string ascending(32, '\0');
    for (size_t i = 0; i < ascending.size(); ++i) ascending[i] = static_cast<char>(i);

    EXPECT_EQ(io::crc32c(std::string(32, '\0')), 0x8a9136aaU);
    EXPECT_EQ(io::crc32c(std::string(32, '\xff')), 0x62a8ab43U);
    EXPECT_EQ(io::crc32c(ascending), 0x46dd794eU);
    EXPECT_EQ(io::crc32c("123456789"), 0xe3069283U);
    EXPECT_EQ(io::crc32c(""), 0U);
}

// The first record of a file that TensorFlow wrote at 1.0 s; the checksum of the length 24 is known from any
// event file.
TEST(TfRecord, FramesLengthAndBytesWithMaskedChecksums) {
    const auto record = io::tf_record(io::version_event(1.0));

    EXPECT_EQ(record.substr(0, 12), "\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22"s);
    EXPECT_EQ(record.substr(12, 24), "\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0d"s + "brain.Event:2");
    EXPECT_EQ(record.size(), 12U + 24 + 4);
}

TEST(ScalarsEvent, IsTheMessageMadeByHand) {
    const std::array<io::Scalar, 2> scalars{{{"loss", 1.5}, {"lr", -2.0}}};

    const auto event = io::scalars_event(2.0, 300, scalars);

    EXPECT_EQ(event,
              "\x09\0\0\0\0\0\0\0\x40"s                // wall_time 2.0
              "\x10\xac\x02"s                          // step 300
              "\x2a\x18"s                              // summary of 24 bytes
              "\x0a\x0b\x0a\x04loss\x15\0\0\xc0\x3f"s  // 1.5
              "\x0a\x09\x0a\x02lr\x15\0\0\0\xc0"s);    // -2.0
}

TEST(StartEvent, CarriesTheFirstStepAndTheStatus) {
    EXPECT_EQ(io::start_event(2.0, 7), "\x09\0\0\0\0\0\0\0\x40\x10\x07\x3a\x02\x08\x01"s);
}

TEST(EventFile, OfASecondStartStandsBesideTheFirst) {
    const TemporaryFolder folder;
    io::EventFile first(folder.path(), 1);
    io::EventFile second(folder.path(), 5);
    const std::array<io::Scalar, 1> scalars{{{"loss", 1.0}}};

    first.write(1, scalars);
    second.write(5, scalars);
    second.flush();

    EXPECT_LT(first.path(), second.path());  // the order in which TensorBoard reads them
    EXPECT_EQ(content_of(first.path()).size(), content_of(second.path()).size());
    EXPECT_TRUE(std::filesystem::path(first.path()).filename().string().starts_with("events.out.tfevents."));
}

}  // namespace
}  // namespace espalier::test
