#include "io/safetensors.hpp"

#include "tests/io/reading.hpp"

namespace espalier::test {
namespace {

using Floats = std::vector<float>;

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string message_for(const std::string& header, const std::string& data) {
    const TemporaryFolder folder;
    const auto path = write_bytes(folder / "model.safetensors", safetensors_bytes(header, data));
    return error_of([&] { io::open_safetensors(path); });
}

TEST(Safetensors, EveryFloatTypeIsReadExactly) {
    const TemporaryFolder folder;
    const std::string header = R"({"a":)" + entry("F32", "[2]", "[0,8]") + R"(,"b":)" +
                               entry("BF16", "[2]", "[8,12]") + R"(,"c":)" + entry("F16", "[2]", "[12,16]") +
                               R"(,"d":)" + entry("F64", "[1]", "[16,24]") +
                               R"(,"__metadata__":{"format":"pt"}}    )";
    const auto data = raw(Floats{1.5F, -2}) + raw<uint16_t>(0x3fc0) + raw<uint16_t>(0xc000) +
                      raw<uint16_t>(0x3e00) + raw<uint16_t>(0xc000) + raw(0.25);

    const auto source =
        io::open_safetensors(write_bytes(folder / "m.safetensors", safetensors_bytes(header, data)));

    EXPECT_EQ(read(*source, "a"), (Floats{1.5F, -2}));
    EXPECT_EQ(read(*source, "b"), (Floats{1.5F, -2}));
    EXPECT_EQ(read(*source, "c"), (Floats{1.5F, -2}));
    EXPECT_EQ(read(*source, "d"), (Floats{0.25F}));
    EXPECT_EQ(source->tensors()[1].dtype, DType::bf16);
    EXPECT_EQ(source->tensors()[2].dtype, DType::f32);
}

TEST(Safetensors, RowsAreReadFromTheMiddle) {
    const TemporaryFolder folder;
    const auto bytes =
        safetensors_bytes(R"({"w":)" + entry("F32", "[3,2]", "[0,24]") + "}", raw(Floats{0, 1, 2, 3, 4, 5}));

    const auto source = io::open_safetensors(write_bytes(folder / "m.safetensors", bytes));

    EXPECT_EQ(read(*source, "w", 1, 2), (Floats{2, 3, 4, 5}));
    EXPECT_EQ(read(*source, "w", 3, 0), Floats{});
    EXPECT_THROW(read(*source, "w", 2, 2), InternalError);
}

TEST(Safetensors, TensorsAreListedInTheOrderOfTheirDataWithScalarsAndEmptyOnes) {
    const TemporaryFolder folder;
    const auto header = R"({"a":)" + entry("F32", "[]", "[4,8]") + R"(,"b":)" + entry("F32", "[1]", "[0,4]") +
                        R"(,"c":)" + entry("F32", "[0,7]", "[8,8]") + "}";
    const auto bytes = safetensors_bytes(header, raw(Floats{1, 2}));

    const auto source = io::open_safetensors(write_bytes(folder / "m.safetensors", bytes));

    EXPECT_EQ(names(*source), (std::vector<std::string>{"b", "a", "c"}));
    EXPECT_EQ(read(*source, "a"), Floats{2});
    EXPECT_EQ(read(*source, "c"), Floats{});
}

TEST(Safetensors, ATypeWithoutADecoderIsListedAndRefusedOnReading) {
    const TemporaryFolder folder;
    const auto bytes = safetensors_bytes(R"({"w":)" + entry("F8_E4M3", "[2]", "[0,2]") + "}", "ab");

    const auto source = io::open_safetensors(write_bytes(folder / "m.safetensors", bytes));

    EXPECT_FALSE(source->tensors()[0].readable);
    EXPECT_TRUE(contains(error_of([&] { read(*source, "w"); }),
                         "type F8_E4M3, which cannot be read; convert it: python3"));
}

TEST(Safetensors, DamagedHeadersAreRefusedNamingTheField) {
    const struct {
        std::string header, data, message;
    } cases[] = {
        {"[]", "", "does not begin with '{'"},
        {R"({"a":)", "", "not valid JSON"},
        {"{\"a\xff\":1}", "", "not valid JSON"},
        {R"({"a":)" + entry("F32", "[1]", "[0,4]") + R"(,"a":)" + entry("F32", "[1]", "[0,4]") + "}", "1234",
         "'a' occurs twice"},
        {R"({"a":)" + entry("F33", "[1]", "[0,4]") + "}", "1234", "'a': unknown dtype 'F33'"},
        {R"({"a":)" + entry("F32", "[-1]", "[0,4]") + "}", "1234", "'a': shape: expected a whole number"},
        {R"({"a":)" + entry("F32", "[1.0]", "[0,4]") + "}", "1234", "'a': shape: expected a whole number"},
        {R"({"a":)" + entry("F32", "[2]", "[0,4]") + "}", "1234",
         "'a': data_offsets [0,4] do not fit shape [2] of F32"},
        {R"({"a":)" + entry("F32", "[1]", "[4,0]") + "}", "1234", "do not fit"},
        {R"({"a":)" + entry("F32", "[4294967296,4294967296]", "[0,0]") + "}", "", "too large"},
        {R"({"a":)" + entry("F32", "[9223372036854775807]", "[0,4]") + "}", "1234", "do not fit"},
        {R"({"a":)" + entry("F32", "[18446744073709551615]", "[0,4]") + "}", "1234", "too large"},
        {R"({"a":)" + entry("F32", "[0,4294967296,4294967296]", "[0,0]") + "}", "", "too large"},
        {R"({"a":)" + entry("F4", "[3]", "[0,2]") + "}", "12", "do not fit"},
        {R"({"a":)" + entry("F32", "[1]", "[4,8]") + "}", "12345678",
         "begins at byte 4 of the data, expected 0 (hole)"},
        {R"({"a":)" + entry("F32", "[1]", "[0,4]") + R"(,"b":)" + entry("F32", "[1]", "[2,6]") + "}",
         "123456", "(overlap)"},
        {R"({"a":)" + entry("F32", "[1]", "[0,4]") + "}", "123", "truncated"},
        {R"({"a":)" + entry("F32", "[1]", "[0,4]") + "}", "12345", "bytes too many"},
        {R"({"a":{"dtype":"F32","shape":[1]}})", "1234",
         "'a': the header must give dtype, shape and data_offsets"},
        {R"({"__metadata__":{"a":1}})", "", "__metadata__ 'a' is not a string"},
    };

    for (const auto& c : cases) EXPECT_TRUE(contains(message_for(c.header, c.data), c.message)) << c.header;
}

TEST(Safetensors, AHeaderLongerThanTheFileIsRefused) {
    const TemporaryFolder folder;
    const auto path = write_bytes(folder / "m.safetensors", raw<uint64_t>(1000) + "{}");
    const auto tiny = write_bytes(folder / "tiny.safetensors", "{}");

    EXPECT_TRUE(
        contains(error_of([&] { io::open_safetensors(path); }), "a header of 1000 bytes in a file of 10"));
    EXPECT_TRUE(contains(error_of([&] { io::open_safetensors(tiny); }), "too few"));
}

TEST(Safetensors, AGitLfsPointerIsToldApart) {
    const TemporaryFolder folder;
    const auto path =
        write_bytes(folder / "m.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");

    EXPECT_TRUE(contains(error_of([&] { io::open_safetensors(path); }), "git lfs pull"));
}

// A folder of two shards of one scalar each, "a" in 1 and "b" in 2, under this weight_map.
struct Sharded {
    explicit Sharded(const std::string& weight_map) {
        write_bytes(folder / "1.safetensors",
                    safetensors_bytes(R"({"a":)" + entry("F32", "[]", "[0,4]") + "}", raw(1.0F)));
        write_bytes(folder / "2.safetensors",
                    safetensors_bytes(R"({"a":)" + entry("F32", "[]", "[0,4]") + R"(,"b":)" +
                                          entry("F32", "[]", "[4,8]") + "}",
                                      raw(Floats{9, 2})));
        write_bytes(folder / "model.safetensors.index.json", R"({"weight_map":)" + weight_map + "}");
    }
    std::unique_ptr<io::TensorSource> open() const { return io::open_safetensors_folder(folder.path()); }
    TemporaryFolder folder;
};

TEST(SafetensorsFolder, TheWeightMapSaysWhichShardCounts) {
    const Sharded shards(R"({"a":"1.safetensors","b":"2.safetensors"})");

    const auto source = shards.open();

    EXPECT_EQ(names(*source), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(read(*source, "a"), Floats{1});
    EXPECT_EQ(read(*source, "b"), Floats{2});
    EXPECT_EQ(source->files().size(), 3);
}

TEST(SafetensorsFolder, ATensorThatTheMapDoesNotNameIsListed) {
    const Sharded shards(R"({"a":"2.safetensors"})");

    const auto source = shards.open();

    EXPECT_EQ(names(*source), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(read(*source, "a"), Floats{9});
}

TEST(SafetensorsFolder, WrongMapsAreRefusedNamingTheTensor) {
    const struct {
        std::string map, message;
    } cases[] = {
        {R"({"b":"1.safetensors"})", "tensor 'b' is not in 1.safetensors"},
        {R"({"a":"../1.safetensors"})", "'a' names '../1.safetensors', which is not a file of this folder"},
        {R"({"a":".."})", "not a file of this folder"},
        {R"({"a":"3.safetensors"})", "3.safetensors: No such file"},
        {R"({"a":1})", "'a' is not a file name"},
        {R"({})", "the weight_map is empty"},
        {R"([])", "no weight_map"},
        {R"({"a":"1.safetensors","a":"2.safetensors"})", "'a' occurs twice"},
    };

    for (const auto& c : cases) {
        const Sharded shards(c.map);
        EXPECT_TRUE(contains(error_of([&] { shards.open(); }), c.message)) << c.map;
    }
}

}  // namespace
}  // namespace espalier::test
