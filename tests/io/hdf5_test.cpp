#include "io/hdf5.hpp"

#include <gmock/gmock.h>

#include "tests/support/temporary_folder.hpp"

namespace espalier::io::hdf5 {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using testing::UnorderedElementsAre;

TEST(Hdf5, FailureCarriesTheInnermostDescriptionOfHdf5) {
    EXPECT_THAT([] { open_file("/nowhere/at/all.h5"); },
                ThrowsMessage<Error>(AllOf(HasSubstr("H5Fopen"), HasSubstr("No such file or directory"))));
}

TEST(Hdf5, FailurePrintsNothingByItself) {
    testing::internal::CaptureStderr();

    EXPECT_THROW(open_file("/nowhere/at/all.h5"), Error);

    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Hdf5, HandlesCloseOnceAndOnlyWhatTheyHold) {
    const hid_t id = H5Screate(H5S_SCALAR);
    {
        Dataspace first(id);
        Dataspace second = std::move(first);
        EXPECT_GT(H5Iis_valid(id), 0);
        EXPECT_EQ(first, -1);
    }
    EXPECT_EQ(H5Iis_valid(id), 0);
}

// The layout is what HDF5 must convert by: every bf16 pattern, read as f32, is the pattern with 16 zero bits
// behind it.
TEST(Hdf5, Bf16IsReadAsTheFloatItIs) {
    std::vector<uint16_t> patterns(1 << 16);
    for (size_t i = 0; i < patterns.size(); ++i) patterns[i] = static_cast<uint16_t>(i);
    std::vector<uint32_t> buffer(patterns.size());
    std::copy(patterns.begin(), patterns.end(), reinterpret_cast<uint16_t*>(buffer.data()));

    CHECK_HDF5(H5Tconvert(type_of(DType::bf16), H5T_NATIVE_FLOAT, patterns.size(), buffer.data(), nullptr,
                          H5P_DEFAULT));

    size_t different = 0;
    for (size_t i = 0; i < patterns.size(); ++i) {
        const bool nan = (i & 0x7fffU) > 0x7f80U;
        different += nan ? (buffer[i] & 0x7fffffffU) <= 0x7f800000U : buffer[i] != i << 16;
    }
    EXPECT_EQ(different, 0U);
}

TEST(Hdf5, EveryDtypeIsRecognised) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::i32, DType::f64, DType::u8}) {
        EXPECT_EQ(dtype_of_type(type_of(dtype)), dtype);
    }
    EXPECT_EQ(dtype_of_type(H5T_STD_I16LE), std::nullopt);
}

TEST(Hdf5, AttributesKeepTheirValues) {
    const test::TemporaryFolder folder;
    const File file = create_file(folder / "a.h5");
    const Group root = require_group(file, "");
    const std::string large(300'000, 'x');  // beyond what an object header can hold
    const std::vector<std::string> axes{"vocab", "", "head_dim"};

    write_attribute(root, "text", Value("Größe"));
    write_attribute(root, "empty", Value(""));
    write_attribute(root, "large", Value(large));
    write_attribute(root, "integer", Value(int64_t{-1} << 62));
    write_attribute(root, "real", Value(0.1));
    write_attribute(root, "axes", axes);
    write_attribute(root, "checksum", uint64_t{1});
    rewrite_attribute(root, "checksum", ~uint64_t{0});

    EXPECT_EQ(read_attribute(root, "text"), Value("Größe"));
    EXPECT_EQ(read_attribute(root, "empty"), Value(""));
    EXPECT_EQ(read_attribute(root, "large"), Value(large));
    EXPECT_EQ(read_attribute(root, "integer"), Value(int64_t{-1} << 62));
    EXPECT_EQ(read_attribute(root, "real"), Value(0.1));
    EXPECT_EQ(read_texts(root, "axes"), axes);
    EXPECT_EQ(read_unsigned(root, "checksum"), ~uint64_t{0});
    EXPECT_THAT(attribute_names(root),
                UnorderedElementsAre("axes", "checksum", "empty", "integer", "large", "real", "text"));
    EXPECT_THROW(read_texts(root, "real"), Error);
    EXPECT_THROW(read_attribute(root, "axes"), Error);
    EXPECT_THROW(read_attribute(root, "none"), Error);
}

TEST(Hdf5, DatasetsHaveTheirPlaceBeforeAnythingIsWritten) {
    const test::TemporaryFolder folder;
    const File file = create_file(folder / "a.h5");
    const Group group = require_group(file, "a/b");

    const Dataset small = create_dataset(group, "small", DType::f32, {3, 5});
    const Dataset large = create_dataset(group, "large", DType::bf16, {4096, 4096});
    const Dataset none = create_dataset(group, "none", DType::f64, {0, 5});

    EXPECT_NE(H5Dget_offset(small), HADDR_UNDEF);
    EXPECT_EQ(H5Dget_offset(large) % (1 << 20), 0U);
    EXPECT_EQ(H5Dget_storage_size(none), 0U);
}

}  // namespace
}  // namespace espalier::io::hdf5
