#include "io/torch_bin.hpp"

#include "io/torch_pickle.hpp"
#include "tests/io/reading.hpp"

namespace espalier::test {
namespace {

using Floats = std::vector<float>;

const Floats six{0, 1, 2, 3, 4, 5};

TorchTensor matrix() {
    return {"w", "FloatStorage", "0", 6, 0, {2, 3}, {3, 1}};
}

std::string message_for(const std::string& bytes) {
    const TemporaryFolder folder;
    const auto path = write_bytes(folder / "pytorch_model.bin", bytes);
    return error_of([&] { io::open_torch_bin(path); });
}

std::string message_for(const TorchTensor& tensor) {
    return message_for(torch_bin_bytes({tensor}, {{"0", raw(six)}}));
}

TEST(TorchBin, TensorsOfEveryFloatTypeAreReadInTheOrderOfTheDictionary) {
    const TemporaryFolder folder;
    const auto bytes = torch_bin_bytes(
        {matrix(),
         {"b", "BFloat16Storage", "1", 1, 0, {1}, {1}, true},
         {"h", "HalfStorage", "2", 1, 0, {}, {}},
         {"d", "DoubleStorage", "3", 1, 0, {1, 1}, {1, 1}}},
        {{"0", raw(six)}, {"1", raw<uint16_t>(0x3fc0)}, {"2", raw<uint16_t>(0x3e00)}, {"3", raw(0.25)}});

    const auto source = io::open_torch_bin(write_bytes(folder / "m.bin", bytes));

    EXPECT_EQ(names(*source), (std::vector<std::string>{"w", "b", "h", "d"}));
    EXPECT_EQ(read(*source, "w", 1, 1), (Floats{3, 4, 5}));
    EXPECT_EQ(read(*source, "b"), Floats{1.5F});
    EXPECT_EQ(read(*source, "h"), Floats{1.5F});
    EXPECT_EQ(read(*source, "d"), Floats{0.25F});
}

TEST(TorchBin, TensorsMayShareAStorageAndBeginInside) {
    const TemporaryFolder folder;
    const auto bytes =
        torch_bin_bytes({matrix(), {"tail", "FloatStorage", "0", 6, 4, {2}, {1}}}, {{"0", raw(six)}});

    const auto source = io::open_torch_bin(write_bytes(folder / "m.bin", bytes));

    EXPECT_EQ(read(*source, "w"), six);
    EXPECT_EQ(read(*source, "tail"), (Floats{4, 5}));
}

TEST(TorchBin, Zip64ArchivesAreRead) {
    const TemporaryFolder folder;
    const auto bytes = zip64_bytes({{"m/data.pkl", pickle_bytes({matrix()})}, {"m/data/0", raw(six)}});

    const auto source = io::open_torch_bin(write_bytes(folder / "m.bin", bytes));

    EXPECT_EQ(read(*source, "w"), six);
}

TEST(TorchBin, TheStrideOfAnAxisOfOneDoesNotMatter) {
    const TemporaryFolder folder;
    const auto bytes =
        torch_bin_bytes({{"w", "FloatStorage", "0", 6, 0, {2, 1, 3}, {3, 77, 1}}}, {{"0", raw(six)}});

    const auto source = io::open_torch_bin(write_bytes(folder / "m.bin", bytes));

    EXPECT_EQ(read(*source, "w"), six);
}

TEST(TorchBin, IntegersAreListedAndRefusedOnReading) {
    const TemporaryFolder folder;
    const auto bytes = torch_bin_bytes({{"ids", "LongStorage", "0", 3, 0, {3}, {1}}}, {{"0", raw(six)}});

    const auto source = io::open_torch_bin(write_bytes(folder / "m.bin", bytes));

    EXPECT_FALSE(source->tensors()[0].readable);
    EXPECT_TRUE(contains(error_of([&] { read(*source, "ids"); }), "type I64, which cannot be read"));
}

TEST(TorchBin, WindowsThatLeaveTheirStorageAreRefused) {
    auto outside = matrix(), late = matrix(), strange = matrix(), transposed = matrix(), flat = matrix();
    outside.shape = {3, 3};
    late.offset = 1;
    strange.storage_elements = 7;
    transposed.shape = {3, 2}, transposed.strides = {1, 3};
    flat.strides = {1};

    EXPECT_TRUE(contains(message_for(outside), "9 elements from 0 leave storage 0 of 6"));
    EXPECT_TRUE(contains(message_for(late), "6 elements from 1 leave storage 0 of 6"));
    EXPECT_TRUE(contains(message_for(strange), "storage 0 of 7 F32 elements has 24 bytes"));
    EXPECT_TRUE(contains(message_for(transposed), "not contiguous (shape [3, 2], strides [1, 3])"));
    EXPECT_TRUE(contains(message_for(flat), "shape [2, 3] with strides [1] is not valid"));
}

TEST(TorchBin, ArchivesThatAreNotPlainAreRefused) {
    const ZipEntry pickle{"m/data.pkl", pickle_bytes({matrix()})}, storage{"m/data/0", raw(six)};
    const auto whole = zip_bytes({pickle, storage});

    EXPECT_TRUE(contains(message_for(zip_bytes({pickle})), "the archive has no member m/data/0"));
    EXPECT_TRUE(contains(message_for(zip_bytes({storage})), "without data.pkl"));
    EXPECT_TRUE(contains(message_for(zip_bytes({pickle, {"m/data/0", raw(six), 8}})),
                         "member 'm/data/0' is compressed"));
    EXPECT_TRUE(contains(message_for(zip_bytes({pickle, storage, storage})), "occurs twice"));
    EXPECT_TRUE(contains(message_for(zip_bytes({pickle, storage, {"m/byteorder", "big"}})), "big-endian"));
    EXPECT_TRUE(contains(message_for("\x80\x02\x8a\x0al\xfc\x9c"),
                         "saved by PyTorch before 1.6, convert it: python3 -c"));
    for (size_t size = 0; size < whole.size(); ++size)
        EXPECT_NE(message_for(whole.substr(0, size)), "") << size;
}

std::string pickle_error(const std::string& pickle) {
    return error_of([&] { io::unpickle_tensors("\x80\x02" + pickle, "file"); });
}

TEST(TorchPickle, CodeThatAPickleAsksForIsNamedAndNotRun) {
    const auto message = pickle_error("cos\nsystem\nX" + raw<uint32_t>(2) + "ls\x85R.");

    EXPECT_TRUE(contains(message, "it uses os.system"));
    EXPECT_TRUE(contains(pickle_error("ctorch\nload\n."), "it uses torch.load"));
    EXPECT_TRUE(contains(pickle_error("ctorch\nEvilStorage\n."), "it uses torch.EvilStorage"));
    EXPECT_TRUE(
        contains(pickle_error("ctorch._utils\n_rebuild_tensor\n."), "it uses torch._utils._rebuild_tensor"));
}

TEST(TorchPickle, MalformedProgramsAreRefused) {
    const struct {
        std::string pickle, message;
    } cases[] = {
        {"", "truncated"},
        {".", "0 values are left"},
        {"}}.", "2 values are left"},
        {"N.", "expected a dictionary of tensors"},
        {"R.", "the stack is empty"},
        {"K\x01"
         "K\x02s.",
         "the stack is empty"},
        {"}K\x01u.", "no mark"},
        {"}(K\x01u.", "a key without a value"},
        {"h\x07.", "memo 7 is not set"},
        {"]q\x01.", "opcode 0x5d"},
        {"cos", "truncated"},
        {"X" + raw<uint32_t>(UINT32_MAX) + "a", "truncated"},
        {"\x8a\x09"
         "123456789.",
         "an integer of 9 bytes"},
        {"}X" + raw<uint32_t>(1) + "aNs.", "'a' is not a tensor"},
        {"}NNs.", "expected a tensor's name"},
        {"ccollections\nOrderedDict\nK\x01\x85R.", "an OrderedDict with arguments"},
        {"ctorch._utils\n_rebuild_tensor_v2\n)R.", "_rebuild_tensor_v2 with 0 arguments"},
        {")Q.", "not a storage"},
        {"}q\x01"
         "h\x01"
         "h\x01s.",
         "expected a tensor's name"},  // a dictionary that holds itself
    };

    for (const auto& c : cases) EXPECT_TRUE(contains(pickle_error(c.pickle), c.message)) << c.message;
    EXPECT_TRUE(
        contains(error_of([] { io::unpickle_tensors("\x80\x04}.", "file"); }), "protocol 4, expected 2"));
}

TEST(TorchPickle, TensorsOfWhichMoreIsSaidThanTheirValuesAreRefused) {
    auto tensor = matrix();
    const auto message = [&](const std::string& metadata) {
        tensor.metadata = metadata;
        return error_of([&] { io::unpickle_tensors(pickle_bytes({tensor}), "file"); });
    };

    EXPECT_EQ(message("}"), "");
    EXPECT_EQ(message("N"), "");
    EXPECT_TRUE(contains(message("}X" + raw<uint32_t>(3) + "neg\x88s"), "negated view"));
    EXPECT_TRUE(contains(message("K\x01"), "a tensor's metadata"));
}

TEST(TorchPickle, TensorNamesOccurOnce) {
    const auto message = error_of([] { io::unpickle_tensors(pickle_bytes({matrix(), matrix()}), "file"); });

    EXPECT_TRUE(contains(message, "tensor 'w' occurs twice"));
}

}  // namespace
}  // namespace espalier::test
