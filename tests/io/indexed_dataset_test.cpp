#include "io/indexed_dataset.hpp"

#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>

#include "io/publish.hpp"
#include "src/core/error.hpp"
#include "tests/support/temporary_folder.hpp"

namespace espalier::io {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int32_t>;

template <class T>
std::string bytes_of(std::initializer_list<T> values) {
    return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

/// An index as Megatron-LM's documentation of the format says it, field by field.
struct Index {
    std::string magic{"MMIDIDX\0\0", 9};
    uint64_t version = 1;
    uint8_t type = 4;
    uint64_t sequences = 3, documents = 3;
    std::string lengths = bytes_of<int32_t>({2, 0, 3});
    std::string pointers = bytes_of<int64_t>({0, 8, 8});
    std::string document_indices = bytes_of<int64_t>({0, 2, 3});
    std::string modes = {};

    std::string bytes() const {
        return magic + bytes_of({version}) + bytes_of({type}) + bytes_of({sequences, documents}) + lengths +
               pointers + document_indices + modes;
    }
};

class TokenFile : public testing::Test {
protected:
    std::string prefix() const { return folder_ / "tokens"; }

    void write(const Index& index, const std::string& tokens = bytes_of<int32_t>({5, 6, 7, 8, 90000})) const {
        write_file(prefix() + ".idx", index.bytes());
        write_file(prefix() + ".bin", tokens);
    }

    Ids all(const IndexedDataset& data, int64_t document) const {
        Ids out(static_cast<size_t>(data.length(document)));
        data.read(document, 0, out);
        return out;
    }

    /// Opening throws a message with the file's name and this.
    void expect_refused(const Index& index, const std::string& why) const {
        write(index);
        EXPECT_THAT([&] { IndexedDataset data(prefix()); },
                    ThrowsMessage<UserError>(AllOf(HasSubstr(prefix() + ".idx"), HasSubstr(why))));
    }

    test::TemporaryFolder folder_;
};

TEST_F(TokenFile, GivesItsSequencesWhateverDocumentsTheyFormTogether) {
    write({});
    const IndexedDataset data(prefix());

    EXPECT_EQ(data.count(), 3);
    EXPECT_EQ(data.tokens(), 5);
    EXPECT_THAT(all(data, 0), ElementsAre(5, 6));
    EXPECT_THAT(all(data, 1), ElementsAre());
    EXPECT_THAT(all(data, 2), ElementsAre(7, 8, 90000));
    Ids one(1);
    data.read(2, 1, one);
    EXPECT_THAT(one, ElementsAre(8));
    EXPECT_THROW(data.read(2, 3, one), InternalError);
}

TEST_F(TokenFile, MayHaveModes) {
    write({.modes = "\0\1\0"});

    EXPECT_EQ(IndexedDataset(prefix()).count(), 3);
}

TEST_F(TokenFile, IsReadInEveryIntegerType) {
    const auto expect_read = [&](uint8_t type, int64_t size, const std::string& tokens) {
        write({.type = type, .pointers = bytes_of<int64_t>({0, 2 * size, 2 * size})}, tokens);
        EXPECT_THAT(all(IndexedDataset(prefix()), 2), ElementsAre(3, 4, 100)) << int{type};
    };

    expect_read(1, 1, bytes_of<uint8_t>({1, 2, 3, 4, 100}));
    expect_read(2, 1, bytes_of<int8_t>({1, 2, 3, 4, 100}));
    expect_read(3, 2, bytes_of<int16_t>({1, 2, 3, 4, 100}));
    expect_read(4, 4, bytes_of<int32_t>({1, 2, 3, 4, 100}));
    expect_read(5, 8, bytes_of<int64_t>({1, 2, 3, 4, 100}));
    expect_read(8, 2, bytes_of<uint16_t>({1, 2, 3, 4, 100}));
}

TEST_F(TokenFile, RefusesATokenThatDoesNotFit32Bits) {
    write({.type = 5, .pointers = bytes_of<int64_t>({0, 16, 16})},
          bytes_of<int64_t>({1, 2, 3, 4, 1LL << 32}));
    const IndexedDataset data(prefix());

    EXPECT_THAT([&] { all(data, 2); }, ThrowsMessage<UserError>(HasSubstr("document 2")));
    EXPECT_THROW(data.check_ids(1LL << 32, {0, data.tokens()}), UserError);
}

TEST_F(TokenFile, KnowsItsTokensOutsideAVocabulary) {
    write({});
    const IndexedDataset data(prefix());

    EXPECT_NO_THROW(data.check_ids(90001, {0, data.tokens()}));
    EXPECT_THAT(
        [&] {
            data.check_ids(90000, {0, data.tokens()});
        },
        ThrowsMessage<UserError>(
            AllOf(HasSubstr("document 2"), HasSubstr("position 2"), HasSubstr("90000"))));
    write({}, bytes_of<int32_t>({5, -1, 7, 8, 9}));
    EXPECT_THAT(
        [&] {
            IndexedDataset(prefix()).check_ids(10, {0, 5});
        },
        ThrowsMessage<UserError>(HasSubstr("position 1")));
    EXPECT_THROW(IndexedDataset(prefix()).check_ids(10, {1, 2}), UserError);
    EXPECT_NO_THROW(IndexedDataset(prefix()).check_ids(10, {2, 5}));
}

TEST_F(TokenFile, WithAnInconsistentIndexIsRefused) {
    constexpr uint64_t huge = ~uint64_t{0} / 4;
    expect_refused({.magic = std::string("MMIDIDY\0\0", 9)}, "MMIDIDX");
    expect_refused({.version = 2}, "version 2");
    expect_refused({.type = 6}, "type 6");
    expect_refused({.type = 0}, "type 0");
    expect_refused({.sequences = huge}, "too few");
    expect_refused({.documents = huge}, "too few");
    expect_refused({.sequences = 2}, "expected");
    expect_refused({.modes = "\1"}, "expected");
    expect_refused({.lengths = bytes_of<int32_t>({2, -1, 3})}, "sequence_lengths[1]");
    expect_refused({.lengths = bytes_of<int32_t>({2, 0, 4})}, "sequence_pointers[2]");
    expect_refused({.pointers = bytes_of<int64_t>({0, 8, -8})}, "sequence_pointers[2]");
    expect_refused({.pointers = bytes_of<int64_t>({0, 21, 8})}, "sequence_pointers[1]");
    expect_refused({.document_indices = bytes_of<int64_t>({1, 2, 3})}, "document_indices[0]");
    expect_refused({.document_indices = bytes_of<int64_t>({0, 4, 3})}, "document_indices[2]");
    expect_refused({.document_indices = bytes_of<int64_t>({0, 2, 2})}, "document_indices end");
    expect_refused({.documents = 0, .document_indices = ""}, "document_indices is empty");
}

TEST_F(TokenFile, CutAnywhereIsRefused) {
    write({});
    const std::string index = read_file(prefix() + ".idx");

    for (size_t size = 0; size < index.size(); ++size) {
        write_file(prefix() + ".idx", index.substr(0, size));
        EXPECT_THROW(IndexedDataset data(prefix()), UserError) << size;
    }
    write({}, bytes_of<int32_t>({5, 6, 7, 8}));
    EXPECT_THAT([&] { IndexedDataset data(prefix()); },
                ThrowsMessage<UserError>(HasSubstr(prefix() + ".bin")));
}

TEST_F(TokenFile, IsNamedWithoutItsSuffix) {
    write({});

    EXPECT_THAT([&] { IndexedDataset data(prefix() + ".bin"); },
                ThrowsMessage<UserError>(HasSubstr("without .bin")));
    EXPECT_THAT([&] { IndexedDataset data(folder_ / "none"); },
                ThrowsMessage<UserError>(HasSubstr("none.idx")));
}

TEST_F(TokenFile, IsWrittenInTheTypeThatMegatronChooses) {
    for (const int64_t vocab : {65499, 65500}) {
        IndexedDatasetWriter writer(prefix(), vocab, Existing::replace);
        writer.add(Ids{1, 2, 65498});
        writer.add(Ids{});
        writer.add(Ids{3});
        EXPECT_FALSE(std::filesystem::exists(prefix() + ".idx") && vocab == 65499);
        writer.finish();

        const IndexedDataset data(prefix());
        EXPECT_EQ(data.count(), 3);
        EXPECT_THAT(all(data, 0), ElementsAre(1, 2, 65498));
        EXPECT_THAT(all(data, 1), ElementsAre());
        EXPECT_THAT(all(data, 2), ElementsAre(3));
        EXPECT_EQ(std::filesystem::file_size(prefix() + ".bin"), vocab == 65499 ? 8U : 16U);
        EXPECT_EQ(writer.documents(), 3);
        EXPECT_EQ(writer.tokens(), 4);
    }
}

TEST_F(TokenFile, IsWrittenByteForByteAsMegatronWritesIt) {
    IndexedDatasetWriter writer(prefix(), 100'000, Existing::keep);
    writer.add(Ids{5, 6});
    writer.add(Ids{});
    writer.add(Ids{7, 8, 90000});
    writer.finish();

    const Index expected{.documents = 4, .document_indices = bytes_of<int64_t>({0, 1, 2, 3})};
    EXPECT_EQ(read_file(prefix() + ".idx"), expected.bytes());
    EXPECT_EQ(read_file(prefix() + ".bin"), bytes_of<int32_t>({5, 6, 7, 8, 90000}));
}

TEST_F(TokenFile, LongerThanTheWritersBufferIsWhole) {
    Ids document(3'000'000);
    for (size_t i = 0; i < document.size(); ++i) document[i] = static_cast<int32_t>(i % 70'000);
    IndexedDatasetWriter writer(prefix(), 70'000, Existing::keep);
    writer.add(document);
    writer.finish();

    EXPECT_EQ(all(IndexedDataset(prefix()), 0), document);
}

TEST_F(TokenFile, ThatIsNotFinishedLeavesNothing) {
    {
        IndexedDatasetWriter writer(prefix(), 10, Existing::keep);
        writer.add(Ids{1});
    }
    EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

TEST_F(TokenFile, IsReplacedOnlyWhenAsked) {
    write({});

    EXPECT_THAT([&] { IndexedDatasetWriter(prefix(), 10, Existing::keep); },
                ThrowsMessage<UserError>(HasSubstr("--force")));
    EXPECT_NO_THROW(IndexedDatasetWriter(prefix(), 10, Existing::replace));
    EXPECT_EQ(IndexedDataset(prefix()).count(), 3);
}

TEST_F(TokenFile, StaysWhereItCannotMakeWay) {
    write({});
    std::filesystem::create_directory(prefix() + ".bin.replaced");  // a file cannot be renamed to it
    IndexedDatasetWriter writer(prefix(), 10, Existing::replace);
    writer.add(Ids{1});

    EXPECT_THAT([&] { writer.finish(); }, ThrowsMessage<std::exception>(HasSubstr("cannot rename")));

    EXPECT_THAT(all(IndexedDataset(prefix()), 2), ElementsAre(7, 8, 90000));
}

TEST_F(TokenFile, ThatAKilledRunLeftHalfIsReplaced) {
    write_file(prefix() + ".bin", "tokens without an index");
    EXPECT_THROW(IndexedDatasetWriter(prefix(), 10, Existing::keep), UserError);  // somebody's
    write_file(prefix() + ".idx.partial", "");

    IndexedDatasetWriter writer(prefix(), 10, Existing::keep);
    writer.add(Ids{1, 2});
    writer.finish();

    EXPECT_THAT(all(IndexedDataset(prefix()), 0), ElementsAre(1, 2));
}

/// What a writer that replaces a pair has renamed when it is killed, step by step, and whether the new pair
/// is whole by then.
struct KilledWriter {
    std::vector<std::pair<std::string, std::string>> renamed;
    bool whole;
};

TEST_F(TokenFile, AnOldPairIsThereOrTheNewOneWhereverItsWriterIsKilled) {
    const std::pair<std::string, std::string> idx_aside{".idx", ".idx.replaced"},
        bin_aside{".bin", ".bin.replaced"}, bin_new{".bin.made", ".bin"}, idx_new{".idx.made", ".idx"};
    for (const auto& [renamed, whole] :
         {KilledWriter{{}, false}, KilledWriter{{idx_aside}, false},
          KilledWriter{{idx_aside, bin_aside}, false}, KilledWriter{{idx_aside, bin_aside, bin_new}, false},
          KilledWriter{{idx_aside, bin_aside, bin_new, idx_new}, true}}) {
        for (const auto& [name, ids] :
             {std::pair{std::string(".made"), Ids{7, 8}}, {std::string(), Ids{1, 2, 3}}}) {
            IndexedDatasetWriter writer(prefix(), 100, Existing::replace);
            writer.add(ids);
            writer.finish();
            if (name.empty()) continue;
            for (const std::string end : {".idx", ".bin"})
                std::filesystem::rename(prefix() + end, prefix() + end + name);
        }
        for (const auto& [from, to] : renamed) std::filesystem::rename(prefix() + from, prefix() + to);

        EXPECT_THAT([&] { IndexedDatasetWriter(prefix(), 100, Existing::keep); },
                    ThrowsMessage<UserError>(HasSubstr("tokens.bin exists")));

        EXPECT_EQ(all(IndexedDataset(prefix()), 0), whole ? (Ids{7, 8}) : (Ids{1, 2, 3})) << renamed.size();
        for (const std::string end : {".idx", ".bin"}) {
            EXPECT_FALSE(std::filesystem::exists(prefix() + end + ".replaced"));
            std::filesystem::remove(prefix() + end + ".made");
        }
    }
}

}  // namespace
}  // namespace espalier::io
