#include "io/mapped_file.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/io/reading.hpp"

namespace espalier::test {
namespace {

int64_t resident_file_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        if (word != "RssFile:") continue;
        int64_t kib = 0;
        status >> kib;
        return kib * 1024;
    }
    throw std::runtime_error("no RssFile in /proc/self/status");
}

TEST(MappedFile, PagesThatAreGivenBackAreNotResidentAndStayReadable) {
    const TemporaryFolder folder;
    constexpr size_t size = 32 << 20;
    const io::MappedFile file(write_bytes(folder / "big", std::string(size, 'x')));
    const auto count = [&] { return std::ranges::count(file.bytes(), std::byte{'x'}); };

    const auto before = resident_file_bytes();
    const auto first_count = count();
    const auto touched = resident_file_bytes();
    file.release(0, file.size());
    const auto released = resident_file_bytes();

    EXPECT_EQ(first_count, int64_t{size});
    EXPECT_GT(touched - before, int64_t{size} * 9 / 10);
    EXPECT_LT(released - before, int64_t{size} / 10);
    EXPECT_EQ(count(), int64_t{size});
}

TEST(MappedFile, ReadingATensorKeepsOnlyAPartOfTheFileResident) {
    const TemporaryFolder folder;
    constexpr int64_t size = 64 << 20;
    const auto shape = std::to_string(size / 4);
    const auto source = io::open_weights(
        write_bytes(folder / "m.safetensors",
                    safetensors_bytes(R"({"w":{"dtype":"F32","shape":[)" + shape + R"(],"data_offsets":[0,)" +
                                          std::to_string(size) + "]}}",
                                      std::string(size, '\0'))));
    std::vector<std::byte> out(size);

    const auto before = resident_file_bytes();
    source->read_rows(0, 0, size / 4, out);

    EXPECT_LT(resident_file_bytes() - before, int64_t{1} << 20);
}

TEST(MappedFile, WhatCannotBeMappedIsRefusedNamingTheFile) {
    const TemporaryFolder folder;
    const auto message = [](const std::string& path) { return error_of([&] { io::MappedFile file(path); }); };

    EXPECT_TRUE(contains(message((folder / "none").string()), "none: No such file or directory"));
    EXPECT_TRUE(contains(message(folder.path().string()), "not a regular file"));
    EXPECT_EQ(io::MappedFile(write_bytes(folder / "empty", "")).size(), 0);
}

}  // namespace
}  // namespace espalier::test
