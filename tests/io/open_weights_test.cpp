#include "io/tensor_source.hpp"
#include "tests/io/reading.hpp"

namespace espalier::test {
namespace {

const std::string safetensors =
    safetensors_bytes(R"({"s":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", raw(1.0F));
const std::string torch_bin =
    torch_bin_bytes({{"t", "FloatStorage", "0", 1, 0, {1}, {1}}}, {{"0", raw(1.0F)}});
const std::string gguf = gguf_bytes({.tensors = {{"g", {1}, 0, raw(1.0F)}}});

std::string only_tensor(const std::filesystem::path& path) {
    return io::open_weights(path)->tensors().at(0).name;
}
std::string refusal(const std::filesystem::path& path) {
    return error_of([&] { io::open_weights(path); });
}

TEST(OpenWeights, FilesAreKnownByTheirExtension) {
    const TemporaryFolder folder;

    EXPECT_EQ(only_tensor(write_bytes(folder / "m.safetensors", safetensors)), "s");
    EXPECT_EQ(only_tensor(write_bytes(folder / "m.bin", torch_bin)), "t");
    EXPECT_EQ(only_tensor(write_bytes(folder / "m.gguf", gguf)), "g");
}

TEST(OpenWeights, AFolderIsReadFromSafetensorsBeforeBin) {
    const TemporaryFolder folder;
    write_bytes(folder / "pytorch_model.bin", torch_bin);
    const auto first = only_tensor(folder.path());
    write_bytes(folder / "shard.bin", torch_bin);
    write_bytes(folder / "pytorch_model.bin.index.json", R"({"weight_map":{"t":"shard.bin"}})");
    const auto files_of_index = io::open_weights(folder.path())->files();
    write_bytes(folder / "model.safetensors", safetensors);
    const auto last = only_tensor(folder.path());

    EXPECT_EQ(first, "t");
    EXPECT_EQ(files_of_index.size(), 2);
    EXPECT_EQ(last, "s");
}

TEST(OpenWeights, OtherCheckpointsAreRefusedWithTheCommandThatConvertsThem) {
    const TemporaryFolder folder;
    write_bytes(folder / "bridge/metadata.json", R"({"sharded_backend":"torch_dist"})");
    write_bytes(folder / "old/iter_0000100/mp_rank_00/model_optim_rng.pt", "");
    write_bytes(folder / "nemo/model_config.yaml", "");

    EXPECT_TRUE(contains(refusal(folder / "bridge"), "convert_checkpoints.py export"));
    EXPECT_TRUE(contains(refusal(folder / "old"), "convert_checkpoints.py export"));
    EXPECT_TRUE(contains(refusal(folder / "old/iter_0000100"), "convert_checkpoints.py export"));
    EXPECT_TRUE(contains(refusal(write_bytes(folder / "dist/__0_0.distcp", "")),
                         "--megatron-path " + (folder / "dist").string()));
    EXPECT_TRUE(contains(refusal(folder / "dist"), "is a Megatron checkpoint"));
    EXPECT_TRUE(contains(refusal(folder / "nemo"), "convert_nemotron_nemo_to_hf.py"));
    EXPECT_TRUE(contains(refusal(write_bytes(folder / "m.nemo", "")), "convert_nemotron_nemo_to_hf.py"));
    EXPECT_TRUE(contains(refusal(write_bytes(folder / "m.pth", "")), "save_file"));
    EXPECT_TRUE(contains(refusal(write_bytes(folder / "m.txt", "")), "expected a Hugging Face folder"));
    EXPECT_TRUE(contains(refusal(folder.path()), "has none of model.safetensors.index.json"));
    EXPECT_TRUE(contains(refusal(folder / "none"), "does not exist"));
}

}  // namespace
}  // namespace espalier::test
