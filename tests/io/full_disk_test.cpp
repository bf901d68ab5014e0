#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include "io/descriptor.hpp"
#include "io/indexed_dataset.hpp"
#include "io/positioned.hpp"
#include "io/publish.hpp"
#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "tests/io/tiny_disk.hpp"

namespace espalier::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr size_t mebibyte = size_t{1} << 20;

class FullDisk : public testing::Test {
protected:
    void SetUp() override {
        disk_ = test::TinyDisk::mount(4 * mebibyte);
        if (!disk_) GTEST_SKIP() << "needs the right to mount a file system";
    }

    std::string path() const { return *disk_ / "file.h5"; }

    std::unique_ptr<test::TinyDisk> disk_;
};

TEST_F(FullDisk, IsSeenBeforeAnyTensorIsWritten) {
    const std::vector<TensorSpec> specs{{"a", {3 << 20}, DType::f32}};

    EXPECT_THAT([&] { TensorFileWriter(path(), MPI_COMM_SELF, specs, Existing::keep); },
                ThrowsMessage<UserError>(AllOf(HasSubstr("no space left writing"), HasSubstr(path()))));

    EXPECT_TRUE(disk_->is_empty());
}

TEST_F(FullDisk, LeavesNoPartOfAFileWhoseBytesDoNotFit) {
    Context ctx{ContextOptions{}};
    {
        TensorFileWriter file(path(), MPI_COMM_SELF, {{"a", {1000}, DType::f32}}, Existing::keep);
        file.write("a", whole({1000}), ctx.zeros({1000}, DType::f32));

        EXPECT_THAT([&] { file.write_bytes("b", std::string(5 * mebibyte, 'x')); },
                    ThrowsMessage<UserError>(HasSubstr("no space left")));
    }
    EXPECT_TRUE(disk_->is_empty());
}

TEST_F(FullDisk, CannotHurtAWriterThatHasItsSpace) {
    Context ctx{ContextOptions{}};
    TensorFileWriter file(path(), MPI_COMM_SELF, {{"a", {1 << 18}, DType::f32}}, Existing::keep);
    EXPECT_THROW(write_file(*disk_ / "other", std::string(5 * mebibyte, 'x')), UserError);

    file.write("a", whole({1 << 18}), ctx.zeros({1 << 18}, DType::f32));
    file.attribute("format", "x");
    file.publish();

    TensorFileReader(path(), MPI_COMM_SELF, "x").verify_all();
    struct stat status = {};
    ASSERT_EQ(::stat(path().c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, status.st_size + 64 * 1024);  // what was reserved beyond is given back
}

TEST_F(FullDisk, CannotTakeSpaceThatIsReserved) {
    {
        const ReservedSpace space(path(), 3 * mebibyte);
        EXPECT_THROW(write_file(*disk_ / "other", std::string(2 * mebibyte, 'x')), UserError);
        EXPECT_THROW(ReservedSpace(*disk_ / "more", 2 * mebibyte), UserError);
        EXPECT_TRUE(disk_->is_empty()) << "a killed process would leave what has a name";
    }
    EXPECT_TRUE(disk_->is_empty());
}

TEST_F(FullDisk, IsNamedByEveryOtherWriterToo) {
    EXPECT_THAT([&] { write_file(path(), std::string(5 * mebibyte, 'x')); },
                ThrowsMessage<UserError>(HasSubstr("no space left")));
    EXPECT_TRUE(disk_->is_empty());
    {
        IndexedDatasetWriter tokens(*disk_ / "tokens", 1000, Existing::keep);
        const std::vector<int32_t> document(6 * mebibyte, 7);
        EXPECT_THAT([&] { tokens.add(document); }, ThrowsMessage<UserError>(HasSubstr("no space left")));
    }
    EXPECT_TRUE(disk_->is_empty());
}

}  // namespace
}  // namespace espalier::io
