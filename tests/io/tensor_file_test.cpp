// Run on 1, 2 and 4 ranks.
#include "io/tensor_file.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>

#include "io/publish.hpp"
#include "src/core/context.hpp"
#include "src/core/exact.hpp"
#include "src/core/random.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::io {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

int rank() {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

int ranks() {
    int size = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    return size;
}

const std::vector<TensorSpec>& specs() {
    static const std::vector<TensorSpec> all{
        {"parameters/embedding", {131, 40}, DType::bf16, {"vocab", "hidden"}},
        {"scores/ffn", {7, 1}, DType::f64},
        {"parameters/layers.0.query", {6, 5, 33}, DType::f32, {"query_head", "head_dim", "hidden"}},
        {"kept", {3}, DType::i32, {"layer"}},
        {"parameters/nothing", {0, 4}, DType::f32},
        {"parameters/long", {3'000'001}, DType::bf16, {"x"}},  // more than one piece of the writer
    };
    return all;
}

/// The bytes of element i of a tensor are a function of its name and i.
void fill(const TensorSpec& spec, const Box& box, Tensor& out) {
    const size_t size = size_of(spec.dtype);
    Shape at = box.offset;
    for (int64_t i = 0; i < box.size(); ++i) {
        int64_t flat = 0;
        for (size_t axis = 0; axis < at.size(); ++axis) flat = flat * spec.shape[axis] + at[axis];
        const uint64_t bits = mix64(hash_name(spec.name) ^ static_cast<uint64_t>(flat));
        std::memcpy(out.raw() + static_cast<size_t>(i) * size, &bits, size);
        for (size_t axis = at.size(); axis-- > 0;) {
            if (++at[axis] < box.offset[axis] + box.count[axis]) break;
            at[axis] = box.offset[axis];
        }
    }
}

/// This rank's part of a tensor that is cut along `axis`, unevenly: rank r has a share of r + 1.
Box part(const Shape& shape, size_t axis) {
    const int64_t total = ranks() * (ranks() + 1) / 2, n = shape[axis];
    Box box = whole(shape);
    box.offset[axis] = n * (rank() * (rank() + 1) / 2) / total;
    box.count[axis] = n * ((rank() + 1) * (rank() + 2) / 2) / total - box.offset[axis];
    return box;
}

size_t last_axis(const Shape& shape) {
    return shape.size() - 1;
}

class TensorFile : public testing::Test {
protected:
    std::string path() const { return folder_ / "file.h5"; }

    Tensor filled(const TensorSpec& spec, const Box& box) {
        Tensor tensor = ctx_.empty(box.count, spec.dtype);
        fill(spec, box, tensor);
        return tensor;
    }

    TensorFileWriter writer(Existing existing = Existing::keep, Through through = Through::cache) {
        return {path(), MPI_COMM_WORLD, specs(), existing, through};
    }

    void write_tensors(TensorFileWriter& file, size_t (*axis)(const Shape&) = last_axis) {
        for (const auto& spec : specs()) {
            const Box box = part(spec.shape, axis(spec.shape));
            file.write(spec.name, box, filled(spec, box));
        }
    }

    std::string write_file_of(size_t (*axis)(const Shape&) = last_axis) {
        auto file = writer();
        write_tensors(file, axis);
        file.write_bytes("tokenizer/tokenizer.json", rank() == 0 ? std::string("{\0}", 3) : "not looked at");
        file.attribute("format", "espalier-test");
        file.attribute("architecture", std::string(100'000, '{'));
        file.attribute("steps", int64_t{12});
        file.attribute("loss", 2.5);
        return file.publish();
    }

    test::TemporaryFolder folder_;
    Context ctx_{ContextOptions{}};
};

TEST_F(TensorFile, WrittenInPartsIsReadBackInOtherParts) {
    write_file_of();
    TensorFileReader file(path(), MPI_COMM_WORLD, "espalier-test");

    EXPECT_EQ(file.tensors(), specs());
    for (const auto& spec : specs()) {
        for (size_t axis = 0; axis < spec.shape.size(); ++axis) {
            const Range mine = split_evenly(spec.shape[axis], int64_t{ranks()}, int64_t{rank()});
            Box box = whole(spec.shape);
            box.offset[axis] = mine.begin;
            box.count[axis] = mine.size();
            Tensor out = ctx_.zeros(box.count, spec.dtype);
            file.read(spec.name, box, out, box);
            EXPECT_EQ(std::memcmp(out.raw(), filled(spec, box).raw(), out.bytes()), 0)
                << spec.name << " axis " << axis;
            file.verify();
        }
    }
    file.verify_all();
}

TEST_F(TensorFile, KeepsBytesAndAttributes) {
    const std::string hash = write_file_of();
    const TensorFileReader file(path(), MPI_COMM_WORLD, "");

    EXPECT_THAT(file.byte_names(), ElementsAre("tokenizer/tokenizer.json"));
    EXPECT_EQ(file.read_bytes("tokenizer/tokenizer.json"), std::string("{\0}", 3));
    EXPECT_EQ(file.text("architecture"), std::string(100'000, '{'));
    EXPECT_EQ(file.number("steps"), 12);
    EXPECT_EQ(file.number("loss"), 2.5);
    EXPECT_EQ(file.content_sha256(), hash);
    EXPECT_EQ(file.integer("steps"), 12);
    EXPECT_THROW(file.integer("loss"), UserError);
    EXPECT_FALSE(file.has_attribute("none"));
    EXPECT_THAT([&] { static_cast<void>(file.text("none")); },
                ThrowsMessage<UserError>(AllOf(HasSubstr(path()), HasSubstr("none"))));
    EXPECT_THROW(static_cast<void>(file.text("loss")), UserError);
    EXPECT_THROW(static_cast<void>(file.number("format")), UserError);
    EXPECT_EQ(file.find("none"), nullptr);
    EXPECT_EQ(file.find("kept")->shape, Shape{3});
}

TEST_F(TensorFile, KeepsBytesInTheOrderOfTheirWriting) {
    std::vector<std::string> names{"tokenizer/tokenizer.json", "tokenizer/tokenizer.model",
                                   "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json"};
    std::sort(names.begin(), names.end());
    do {
        TensorFileWriter file(path(), MPI_COMM_WORLD, {{"parameters/nothing", {0, 4}}}, Existing::replace);
        for (const auto& name : names) file.write_bytes(name, "{}");
        file.publish();

        EXPECT_EQ(TensorFileReader(path(), MPI_COMM_WORLD, "").byte_names(), names);
    } while (std::next_permutation(names.begin(), names.end()));
}

TEST_F(TensorFile, HasTheSameHashHoweverItWasSplit) {
    const std::string by_columns = write_file_of();
    std::filesystem::path other(path() + ".columns");
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank() == 0) std::filesystem::rename(path(), other);
    MPI_Barrier(MPI_COMM_WORLD);

    const std::string by_rows = write_file_of([](const Shape&) { return size_t{0}; });

    EXPECT_EQ(by_columns, by_rows);
}

TEST_F(TensorFile, IsTheSameByWhicheverWayItReachesTheDisk) {
    for (const auto axis : {+[](const Shape&) { return size_t{0}; }, &last_axis}) {
        std::vector<std::string> hashes;
        for (const Through through : {Through::cache, Through::device}) {
            auto file = writer(Existing::replace, through);
            write_tensors(file, axis);
            hashes.push_back(file.publish());

            TensorFileReader(path(), MPI_COMM_WORLD, "").verify_all();
        }
        EXPECT_EQ(hashes[0], hashes[1]);
    }
}

TEST_F(TensorFile, IsNotThereBeforeItIsPublished) {
    {
        auto file = writer();
        write_tensors(file);
        MPI_Barrier(MPI_COMM_WORLD);
        EXPECT_FALSE(std::filesystem::exists(path()));
        EXPECT_TRUE(std::filesystem::exists(path() + ".partial"));
        MPI_Barrier(MPI_COMM_WORLD);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(TensorFile, IsReplacedOnlyWhenAsked) {
    write_file_of();

    EXPECT_THAT([&] { writer(); }, ThrowsMessage<UserError>(HasSubstr("--force")));
    { auto unpublished = writer(Existing::replace); }
    TensorFileReader(path(), MPI_COMM_WORLD, "espalier-test").verify_all();
    auto file = writer(Existing::replace);
    write_tensors(file);
    file.publish();
    EXPECT_FALSE(TensorFileReader(path(), MPI_COMM_WORLD, "").has_attribute("format"));
}

TEST_F(TensorFile, IsNotPublishedWhenAnElementWasForgottenOrWrittenTwice) {
    auto file = writer();
    write_tensors(file);
    const Box box = part({3}, 0);
    file.write("kept", box, filled(*std::ranges::find(specs(), "kept", &TensorSpec::name), box));

    EXPECT_THAT([&] { file.publish(); },
                ThrowsMessage<InternalError>(HasSubstr("6 of the 3 elements of kept")));

    EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(TensorFile, OfAnotherFormatIsRefused) {
    write_file_of();

    EXPECT_THAT([&] { TensorFileReader(path(), MPI_COMM_WORLD, "espalier-model"); },
                ThrowsMessage<UserError>(AllOf(HasSubstr("espalier-model"), HasSubstr("espalier-test"))));
    EXPECT_THAT([&] { TensorFileReader(folder_ / "none.h5", MPI_COMM_WORLD, ""); },
                ThrowsMessage<UserError>(HasSubstr("none.h5")));
}

TEST_F(TensorFile, ReadsOfOneRankVerifyWhatTheyCount) {
    write_file_of();
    TensorFileReader file(path(), MPI_COMM_SELF, "");
    const auto& spec = *file.find("parameters/layers.0.query");
    const Box box{{1, 0, 3}, {5, 5, 30}};
    Tensor out = ctx_.empty(box.count, spec.dtype);

    file.read(spec.name, box, out, {{2, 0, 3}, {1, 2, 4}});

    EXPECT_EQ(std::memcmp(out.raw(), filled(spec, box).raw(), out.bytes()), 0);
    EXPECT_NO_THROW(file.verify());  // a part says nothing, and counts no more afterwards
    Tensor all = ctx_.empty(spec.shape, spec.dtype);
    file.read(spec.name, whole(spec.shape), all, whole(spec.shape));
    file.read(spec.name, box, out, {{2, 0, 3}, {1, 2, 4}});
    EXPECT_THAT([&] { file.verify(); }, ThrowsMessage<InternalError>(HasSubstr("counted")));
}

TEST_F(TensorFile, ADamagedElementIsFoundByTheReadThatCountsIt) {
    write_file_of();
    if (rank() == 0) {
        // The tensor is small; its bytes occur once in the file.
        std::string content = read_file(path());
        const auto& spec = specs()[3];
        const Tensor tensor = filled(spec, whole(spec.shape));
        const auto at =
            content.find(std::string(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes()));
        ASSERT_NE(at, std::string::npos);
        content[at + 5] = static_cast<char>(content[at + 5] ^ 4);
        write_file(path(), content);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    TensorFileReader file(path(), MPI_COMM_WORLD, "");
    Tensor out = ctx_.empty({3}, DType::i32);

    file.read("kept", whole({3}), out, rank() == 0 ? whole({3}) : Box{});

    EXPECT_THAT([&] { file.verify(); },
                ThrowsMessage<UserError>(AllOf(HasSubstr(path()), HasSubstr("kept"))));
    EXPECT_THAT([&] { file.verify_all(); }, ThrowsMessage<UserError>(HasSubstr("kept")));
}

TEST_F(TensorFile, AFailureOnOneRankIsThrownOnAll) {
    const std::string nowhere = folder_ / "no folder/file.h5";

    EXPECT_THAT([&] { TensorFileWriter(nowhere, MPI_COMM_WORLD, specs(), Existing::keep); },
                ThrowsMessage<UserError>(HasSubstr("no folder")));
}

}  // namespace
}  // namespace espalier::io
