#include "io/safetensors_writer.hpp"

#include <sys/resource.h>

#include <csignal>

#include "io/safetensors.hpp"
#include "tests/io/reading.hpp"

namespace espalier::test {
namespace {

using Floats = std::vector<float>;

std::span<const std::byte> bytes_of(const Floats& values) {
    return std::as_bytes(std::span(values));
}

const std::vector<io::SafetensorsTensor> three{
    {"a", {2, 2}, DType::f32}, {"b", {3}, DType::bf16}, {"c", {1}, DType::f32}};

TEST(SafetensorsLayout, ShardsAreFilledInOrderUpToTheLimit) {
    const io::SafetensorsLayout layout(three, 22);  // 16 + 6, then 4

    ASSERT_EQ(layout.shards().size(), 2);
    EXPECT_EQ(layout.shards()[0].name, "model-00001-of-00002.safetensors");
    EXPECT_EQ(layout.shards()[1].name, "model-00002-of-00002.safetensors");
    EXPECT_EQ(layout.places()[0].shard, 0);
    EXPECT_EQ(layout.places()[1].shard, 0);
    EXPECT_EQ(layout.places()[2].shard, 1);
    EXPECT_EQ(layout.data_bytes(), 26);
}

TEST(SafetensorsLayout, ATensorLargerThanTheLimitHasAShardOfItsOwn) {
    const io::SafetensorsLayout layout(three, 1);

    EXPECT_EQ(layout.shards().size(), 3);
}

TEST(SafetensorsLayout, TensorsAreAlignedToTheirTypes) {
    const io::SafetensorsLayout layout(three, 1000);

    ASSERT_EQ(layout.shards().size(), 1);
    EXPECT_EQ(layout.shards()[0].name, "model.safetensors");
    EXPECT_EQ(layout.shards()[0].header.size() % 8, 0);
    for (size_t i = 0; i < three.size(); ++i)
        EXPECT_EQ(layout.places()[i].begin % size_of(three[i].dtype), 0);
    EXPECT_TRUE(layout.index().empty());
}

TEST(SafetensorsWriter, RowsOfTwoProcessesMakeOneModel) {
    const TemporaryFolder folder;
    const io::SafetensorsLayout layout(three, 16);
    io::SafetensorsWriter creator(folder.path(), layout, io::FileRole::create);
    io::SafetensorsWriter other(folder.path(), layout, io::FileRole::join);
    const std::vector<bfloat16> b{bfloat16(5), bfloat16(6), bfloat16(7)};

    creator.write_rows(0, 0, bytes_of({1, 2}));
    other.write_rows(0, 1, bytes_of({3, 4}));
    other.write_rows(1, 0, std::as_bytes(std::span(b)));
    creator.write_rows(2, 0, bytes_of({8}));
    creator.finish();
    other.finish();

    const auto source = io::open_safetensors_folder(folder.path());
    EXPECT_EQ(read(*source, "a"), (Floats{1, 2, 3, 4}));
    EXPECT_EQ(read(*source, "b"), (Floats{5, 6, 7}));
    EXPECT_EQ(read(*source, "c"), Floats{8});
    EXPECT_NO_THROW(layout.expect_written(creator.bytes_written() + other.bytes_written()));
}

TEST(SafetensorsWriter, ARowThatNobodyWroteIsABug) {
    const TemporaryFolder folder;
    const io::SafetensorsLayout layout(three, 1000);
    io::SafetensorsWriter writer(folder.path(), layout, io::FileRole::create);
    const std::vector<bfloat16> b{bfloat16(5), bfloat16(6), bfloat16(7)};

    writer.write_rows(0, 0, bytes_of({1, 2}));
    writer.write_rows(1, 0, std::as_bytes(std::span(b)));
    writer.write_rows(2, 0, bytes_of({8}));

    EXPECT_THROW(layout.expect_written(writer.bytes_written()), InternalError);
}

TEST(SafetensorsWriter, RowsThatDoNotFitAreABug) {
    const TemporaryFolder folder;
    io::SafetensorsWriter writer(folder.path(), io::SafetensorsLayout(three, 1000), io::FileRole::create);

    EXPECT_THROW(writer.write_rows(0, 1, bytes_of({1, 2, 3, 4})), InternalError);
    EXPECT_THROW(writer.write_rows(0, 0, bytes_of({1})), InternalError);
    EXPECT_THROW(writer.write_rows(0, -1, bytes_of({1, 2})), InternalError);
}

TEST(SafetensorsWriter, AFileThatExistsIsNotReplaced) {
    const TemporaryFolder folder;
    write_bytes(folder / "model.safetensors", "precious");

    const auto message = error_of([&] {
        io::SafetensorsWriter(folder.path(), io::SafetensorsLayout(three, 1000), io::FileRole::create);
    });

    EXPECT_TRUE(contains(message, "model.safetensors: File exists"));
}

TEST(SafetensorsWriter, AFileThatDoesNotFitTheDiskIsNoticedBeforeAnythingIsWritten) {
    const TemporaryFolder folder;
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old_limit = {};
    getrlimit(RLIMIT_FSIZE, &old_limit);
    rlimit limit = old_limit;
    limit.rlim_cur = 1 << 20;
    setrlimit(RLIMIT_FSIZE, &limit);

    const auto message = error_of([&] {
        io::SafetensorsWriter(folder.path(), io::SafetensorsLayout({{"big", {1 << 20}, DType::f32}}, 1),
                              io::FileRole::create);
    });

    setrlimit(RLIMIT_FSIZE, &old_limit);
    std::signal(SIGXFSZ, old_handler);
    EXPECT_TRUE(contains(message, "cannot write"));
    EXPECT_TRUE(contains(message, "File too large"));
}

}  // namespace
}  // namespace espalier::test
