// Whatever happens to a file, it is either refused, naming it, or all that it held is still there.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <random>

#include "io/damage.hpp"
#include "io/hdf5.hpp"
#include "io/publish.hpp"
#include "io/tensor_file.hpp"
#include "src/core/context.hpp"
#include "tests/support/leaks.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::io {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::ThrowsMessage;

/// All that a file says, as one text.
std::string content_of(const std::string& path) {
    // HDF5 1.10 loses some memory of its own over each damaged file, also what it kept from earlier calls for
    // reuse.
    H5garbage_collect();
    const test::IgnoreLeaks ignored;
    Context ctx{ContextOptions{}};
    TensorFileReader file(path, MPI_COMM_SELF, "espalier-test");
    file.verify_all();
    std::string content =
        file.text("architecture") + file.content_sha256() + std::to_string(file.number("loss"));
    for (const auto& spec : file.tensors()) {
        Tensor out = ctx.empty(spec.shape, spec.dtype);
        file.read(spec.name, whole(spec.shape), out);
        content += fmt::format("{} {} {}", spec.name, to_string(spec.shape), to_string(spec.dtype));
        for (const auto& axis : spec.axes) content += axis;
        content.append(reinterpret_cast<const char*>(out.raw()), out.bytes());
    }
    for (const auto& name : file.byte_names()) content += name + file.read_bytes(name);
    return content;
}

class Damage : public testing::Test {
protected:
    void SetUp() override {
        Context ctx{ContextOptions{}};
        std::vector<TensorSpec> specs;
        for (int i = 0; i < 12; ++i) {  // more than a group keeps in its header
            const DType dtype = i % 2 ? DType::bf16 : DType::f32;
            specs.push_back(
                {fmt::format("parameters/layers.{}.query", i), {5, 7 + i}, dtype, {"query_head", "hidden"}});
        }
        TensorFileWriter file(path(), MPI_COMM_SELF, specs, Existing::keep);
        uint32_t next = 1;
        for (const auto& spec : specs) {
            const Tensor data = ctx.empty(spec.shape, spec.dtype);
            for (size_t i = 0; i < data.bytes(); ++i)
                data.raw()[i] = static_cast<std::byte>((next = next * 69069 + 1) >> 24);
            file.write(spec.name, whole(spec.shape), data);
        }
        file.write_bytes("tokenizer/tokenizer.json", "{\"model\": 1}");
        file.attribute("format", "espalier-test");
        file.attribute("architecture", std::string(9000, 'a'));
        for (int i = 0; i < 8; ++i)
            file.attribute("extra" + std::to_string(i), int64_t{i});  // stored densely
        file.attribute("loss", 2.5);
        file.publish();
        whole_ = read_file(path());
        content_ = content_of(path());
    }

    std::string path() const { return folder_ / "file.h5"; }

    /// Whether damage at this place was refused; anything else than that or the whole content fails the test.
    bool refused_with_flip(size_t place, unsigned bit) {
        std::string damaged = whole_;
        damaged[place] = static_cast<char>(damaged[place] ^ (1 << bit));
        write_damaged(damaged);
        try {
            EXPECT_EQ(content_of(path()), content_)
                << "bit " << bit << " of byte " << place << " went unnoticed";
            return false;
        } catch (const DamagedFile& error) {
            EXPECT_THAT(error.what(), HasSubstr(path()));
            return true;
        }
    }

    void write_damaged(const std::string& bytes) {
        const int file = ::open(path().c_str(), O_WRONLY | O_TRUNC);
        ASSERT_EQ(::write(file, bytes.data(), bytes.size()), std::ssize(bytes));
        ::close(file);
    }

    test::TemporaryFolder folder_;
    std::string whole_, content_;
};

TEST_F(Damage, OfAnySingleBitIsRefusedOrHarmless) {
    std::mt19937 random(7);
    int refused = 0;

    for (int i = 0; i < 600; ++i) refused += refused_with_flip(random() % whole_.size(), random() % 8);

    EXPECT_GT(refused, 100);  // the rest fell into unused space
}

TEST_F(Damage, OfEachTensorIsRefusedByItsName) {
    Context ctx{ContextOptions{}};
    TensorFileReader file(path(), MPI_COMM_SELF, "");
    for (const auto& spec : file.tensors()) {
        Tensor out = ctx.empty(spec.shape, spec.dtype);
        file.read(spec.name, whole(spec.shape), out);
        const auto place = whole_.find(std::string(reinterpret_cast<const char*>(out.raw()), out.bytes()));
        ASSERT_NE(place, std::string::npos);
        std::string damaged = whole_;
        damaged[place + out.bytes() - 1] ^= 0x40;

        write_damaged(damaged);

        EXPECT_THAT([&] { TensorFileReader(path(), MPI_COMM_SELF, "").verify_all(); },
                    ThrowsMessage<DamagedFile>(AllOf(HasSubstr(path()), HasSubstr(spec.name))));
    }
}

TEST_F(Damage, ByTruncationIsRefused) {
    for (size_t size = 0; size < whole_.size(); size += whole_.size() / 50 + 1) {
        write_damaged(whole_.substr(0, size));

        EXPECT_THAT([&] { content_of(path()); }, ThrowsMessage<DamagedFile>(HasSubstr(path())))
            << size << " bytes";
    }
}

TEST_F(Damage, OfAWholeZeroedBlockIsRefused) {
    constexpr size_t block = 512;
    for (size_t begin = 0; begin < whole_.size(); begin += block) {
        std::string damaged = whole_;
        const auto end = damaged.begin() + static_cast<int64_t>(std::min(begin + block, whole_.size()));
        std::fill(damaged.begin() + static_cast<int64_t>(begin), end, '\0');
        write_damaged(damaged);
        try {
            EXPECT_EQ(content_of(path()), content_) << "zeros at " << begin << " went unnoticed";
        } catch (const DamagedFile& error) {
            EXPECT_THAT(error.what(), HasSubstr(path()));
        }
    }
}

TEST_F(Damage, OfTheRestIsRefusedWhenTheFileIsSomethingElse) {
    write_damaged("PK\3\4 not HDF5 at all");

    EXPECT_THAT([&] { content_of(path()); }, ThrowsMessage<DamagedFile>(HasSubstr("not one of espalier's")));
}

TEST_F(Damage, IsNotWhatTheSystemRefuses) {
    const auto refusal = [&]() -> std::string {
        try {
            content_of(path());
            return "the file was read";
        } catch (const DamagedFile& error) {
            return std::string("damage: ") + error.what();
        } catch (const UserError& error) {
            return error.what();
        }
    };
    rlimit files{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    const rlimit none{0, files.rlim_max};

    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    const std::string without_descriptors = refusal();
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);  // before the sanitizer looks at a matcher through a pipe

    EXPECT_THAT(without_descriptors,
                AllOf(HasSubstr(path()), HasSubstr("Too many open files"), Not(HasSubstr("damage: "))));
    EXPECT_EQ(content_of(path()), content_);
    std::filesystem::remove(path());
    EXPECT_THAT(refusal(), AllOf(HasSubstr(path()), HasSubstr("No such file"), Not(HasSubstr("damage: "))));
}

}  // namespace
}  // namespace espalier::io
