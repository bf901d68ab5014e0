#include "io/gguf.hpp"

#include "tests/io/reading.hpp"

namespace espalier::test {
namespace {

using Floats = std::vector<float>;
constexpr uint32_t f32 = 0, f16 = 1, q8_0 = 8, q2_k = 10, bf16 = 30;

std::unique_ptr<io::GgufFile> open(const TemporaryFolder& folder, const GgufFileSpec& spec) {
    return io::open_gguf(write_bytes(folder / "m.gguf", gguf_bytes(spec)));
}

TEST(Gguf, MetadataOfEveryTypeIsRead) {
    const TemporaryFolder folder;
    const auto file =
        open(folder,
             {.metadata = {gguf_value("u8", 0, raw<uint8_t>(200)), gguf_value("i8", 1, raw<int8_t>(-2)),
                           gguf_value("u16", 2, raw<uint16_t>(60000)), gguf_value("i16", 3, raw<int16_t>(-3)),
                           gguf_value("u32", 4, raw<uint32_t>(4000000000)),
                           gguf_value("i32", 5, raw<int32_t>(-4)), gguf_value("f32", 6, raw(1.5F)),
                           gguf_value("bool", 7, raw<uint8_t>(1)), gguf_value("text", 8, gguf_text("llama")),
                           gguf_value("u64", 10, raw<uint64_t>(1ULL << 40)),
                           gguf_value("i64", 11, raw<int64_t>(-5)), gguf_value("f64", 12, raw(0.1)),
                           gguf_array("texts", 8, 2, gguf_text("a") + gguf_text("")),
                           gguf_array("integers", 5, 2, raw<int32_t>(7) + raw<int32_t>(8)),
                           gguf_array("reals", 6, 1, raw(2.5F))}});

    EXPECT_EQ(file->integer("u8"), 200);
    EXPECT_EQ(file->integer("i8"), -2);
    EXPECT_EQ(file->integer("u16"), 60000);
    EXPECT_EQ(file->integer("i16"), -3);
    EXPECT_EQ(file->integer("u32"), 4000000000);
    EXPECT_EQ(file->integer("i32"), -4);
    EXPECT_EQ(file->real("f32"), 1.5);
    EXPECT_EQ(file->boolean("bool"), true);
    EXPECT_EQ(file->text("text"), "llama");
    EXPECT_EQ(file->integer("u64"), int64_t{1} << 40);
    EXPECT_EQ(file->integer("i64"), -5);
    EXPECT_EQ(file->real("f64"), 0.1);
    EXPECT_EQ(file->real("i32"), -4.0);
    EXPECT_EQ(file->texts("texts"), (std::vector<std::string>{"a", ""}));
    EXPECT_EQ(file->integers("integers"), (std::vector<int64_t>{7, 8}));
    EXPECT_EQ(file->integers("u8"), std::vector<int64_t>{200});
    EXPECT_EQ(file->reals("reals"), std::vector<double>{2.5});
    EXPECT_EQ(file->integer("none"), std::nullopt);
    EXPECT_EQ(file->keys().size(), 15);
}

TEST(Gguf, AKeyOfAnotherTypeIsRefusedByName) {
    const TemporaryFolder folder;
    const auto file = open(folder, {.metadata = {gguf_value("text", 8, gguf_text("llama")),
                                                 gguf_array("list", 4, 1, raw<uint32_t>(1)),
                                                 gguf_value("huge", 10, raw(UINT64_MAX))}});

    EXPECT_TRUE(contains(error_of([&] { file->integer("text"); }), "metadata 'text': it is not an integer"));
    EXPECT_TRUE(contains(error_of([&] { file->real("text"); }), "metadata 'text': it is not a number"));
    EXPECT_TRUE(contains(error_of([&] { file->integer("list"); }), "metadata 'list' is a list"));
    EXPECT_TRUE(contains(error_of([&] { file->integer("huge"); }), "is too large"));
}

TEST(Gguf, DimensionsAreReversedAndPlainTypesKeepTheirValues) {
    const TemporaryFolder folder;

    const auto file =
        open(folder, {.tensors = {{"w", {3, 2}, f32, raw(Floats{0, 1, 2, 3, 4, 5})},
                                  {"h", {2}, f16, raw<uint16_t>(0x3e00) + raw<uint16_t>(0x0001)},
                                  {"b", {1}, bf16, raw<uint16_t>(0x3fc0)}}});

    EXPECT_EQ(file->tensors()[0].shape, (Shape{2, 3}));
    EXPECT_EQ(read(*file, "w", 1, 1), (Floats{3, 4, 5}));
    EXPECT_EQ(read(*file, "h"), (Floats{1.5F, 0x1p-24F}));
    EXPECT_EQ(file->tensors()[2].dtype, DType::bf16);
    EXPECT_EQ(read(*file, "b"), Floats{1.5F});
}

TEST(Gguf, AQuantisedVectorIsReadAcrossItsBlocks) {
    const TemporaryFolder folder;
    std::string data;
    for (int block = 0; block < 2; ++block) {
        data += raw<uint16_t>(0x3c00);  // 1.0
        for (int i = 0; i < 32; ++i) data += raw(static_cast<int8_t>(32 * block + i));
    }

    const auto file = open(folder, {.tensors = {{"v", {64}, q8_0, data}}});

    EXPECT_EQ(read(*file, "v", 30, 4), (Floats{30, 31, 32, 33}));
    EXPECT_EQ(read(*file, "v", 63, 1), Floats{63});
}

TEST(Gguf, TheAlignmentOfTheFileIsHonoured) {
    const TemporaryFolder folder;

    const auto file = open(folder, {.metadata = {gguf_value("general.alignment", 4, raw<uint32_t>(128))},
                                    .tensors = {{"a", {1}, f32, raw(1.0F)}, {"b", {1}, f32, raw(2.0F)}},
                                    .alignment = 128});

    EXPECT_EQ(read(*file, "b"), Floats{2});
}

TEST(Gguf, ATypeWithoutADecoderIsListedAndRefusedOnReading) {
    const TemporaryFolder folder;

    const auto file = open(folder, {.tensors = {{"w", {256}, q2_k, std::string(84, 'x')}}});

    EXPECT_FALSE(file->tensors()[0].readable);
    const auto message = error_of([&] { read(*file, "w"); });
    EXPECT_TRUE(contains(message, "type Q2_K"));
    EXPECT_TRUE(contains(message, "llama-quantize --allow-requantize"));
}

TEST(Gguf, DamagedFilesAreRefusedNamingTheField) {
    const GgufTensor good{"w", {1}, f32, raw(1.0F)};
    const auto alignment = [](uint32_t n) { return gguf_value("general.alignment", 4, raw(n)); };
    const struct {
        GgufFileSpec spec;
        std::string message;
    } cases[] = {
        {{.tensors = {good}, .version = 1}, "GGUF version 1"},
        {{.tensors = {good}, .version = 0x03000000}, "big-endian"},
        {{.tensors = {good}, .tensor_count = 1ULL << 60}, "tensors do not fit a file"},
        {{.tensors = {good}, .tensor_count = UINT64_MAX}, "tensors do not fit a file"},
        {{.tensors = {good}, .metadata_count = UINT64_MAX}, "metadata keys do not fit a file"},
        {{.metadata = {gguf_value("k", 13, "")}, .tensors = {good}}, "metadata 'k' has the unknown type 13"},
        {{.metadata = {gguf_array("k", 9, 1, "")}, .tensors = {good}}, "array of arrays"},
        {{.metadata = {gguf_array("k", 8, UINT64_MAX, "")}, .tensors = {good}}, "does not fit the file"},
        {{.metadata = {gguf_array("k", 0, 1 << 20, "")}, .tensors = {good}}, "does not fit the file"},
        {{.metadata = {gguf_value("k", 8, raw(UINT64_MAX))}, .tensors = {good}}, "truncated or damaged"},
        {{.metadata = {alignment(32), alignment(32)}, .tensors = {good}}, "'general.alignment' occurs twice"},
        {{.metadata = {alignment(0)}, .tensors = {good}}, "general.alignment 0 is not a power of two"},
        {{.metadata = {alignment(24)}, .tensors = {good}}, "general.alignment 24 is not a power of two"},
        {{.metadata = {gguf_value("split.count", 2, raw<uint16_t>(3))}, .tensors = {good}},
         "llama-gguf-split --merge"},
        {{.tensors = {good, good}}, "tensor 'w' occurs twice"},
        {{.tensors = {{"", {1}, f32, ""}}}, "1 to 64 bytes"},
        {{.tensors = {{"w", {1, 1, 1, 1, 1}, f32, ""}}}, "5 dimensions"},
        {{.tensors = {{"w", {1ULL << 40, 1ULL << 40}, f32, ""}}}, "too large"},
        {{.tensors = {{"w", {1ULL << 62}, f32, ""}}}, "too large"},
        {{.tensors = {{"w", {UINT64_MAX}, f32, ""}}}, "too large"},
        {{.tensors = {{"w", {1ULL << 30}, f32, ""}}}, "truncated"},
        {{.tensors = {{"w", {31}, q8_0, ""}}}, "rows of 31 elements are not whole blocks of Q8_0 (32)"},
        {{.tensors = {{"w", {1}, 99, ""}}}, "unknown number type 99"},
        {{.tensors = {{"w", {1}, f32, raw(1.0F), 4}}}, "offset 4 is not a multiple of the alignment 32"},
        {{.tensors = {{"w", {1}, f32, raw(1.0F), UINT64_MAX - 31}}}, "truncated"},
        {{.tensors = {{"v", {16}, f32, std::string(64, 'x')}, {"w", {1}, f32, raw(1.0F), 32}}},
         "'w' at offset 32 overlaps"},
        {{.tensors = {{"v", {4}, f32, std::string(64, 'x')}, {"w", {1}, f32, raw(1.0F)}}},
         "between offset 16 and tensor 'w' at 64 is a hole"},
    };

    for (const auto& c : cases) {
        const TemporaryFolder folder;
        EXPECT_TRUE(contains(error_of([&] { open(folder, c.spec); }), c.message));
    }
}

TEST(Gguf, EveryTruncationIsRefused) {
    const TemporaryFolder folder;
    const auto whole = gguf_bytes({.metadata = {gguf_value("text", 8, gguf_text("llama"))},
                                   .tensors = {{"w", {8}, f32, raw(Floats{1, 2, 3, 4, 5, 6, 7, 8})}}});

    for (size_t size = 0; size < whole.size(); ++size) {
        const auto path = write_bytes(folder / "m.gguf", whole.substr(0, size));
        EXPECT_THROW(io::open_gguf(path), UserError) << size;
    }
}

}  // namespace
}  // namespace espalier::test
