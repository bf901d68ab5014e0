#include "io/tensor_source.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/gguf.hpp"
#include "io/safetensors.hpp"
#include "io/system_error.hpp"
#include "io/torch_bin.hpp"

namespace espalier::io {
namespace {

namespace fs = std::filesystem;

constexpr auto megatron_command =
    "python3 Megatron-Bridge/examples/conversion/convert_checkpoints.py export --hf-model "
    "HF_MODEL_OF_THE_SAME_SHAPE "
    "--megatron-path {} --hf-path HF_FOLDER";
constexpr auto nemo_command =
    "python3 NeMo/scripts/checkpoint_converters/convert_nemotron_nemo_to_hf.py --input_name_or_path {} "
    "--hf_input_path "
    "HF_MODEL_OF_THE_SAME_FAMILY --hf_output_path HF_FOLDER (convert_llama_nemo_to_hf.py and so on for other "
    "families)";

bool starts(const fs::directory_entry& entry, std::string_view prefix) {
    return entry.path().filename().string().starts_with(prefix);
}

// Megatron-Core and NeMo 2 write metadata.json with its back end and .distcp files, older Megatron-LM
// mp_rank_* folders, both under iter_*; NeMo 1, unpacked, has model_config.yaml.
bool is_megatron(const fs::path& folder) {
    if (fs::exists(folder / "metadata.json")) {
        std::ifstream file(folder / "metadata.json");
        std::string head(4096, '\0');
        file.read(head.data(), static_cast<std::streamsize>(head.size()));
        if (head.find("sharded_backend") != std::string::npos) return true;
    }
    return std::ranges::any_of(fs::directory_iterator(folder), [](const auto& entry) {
        return entry.path().extension() == ".distcp" || starts(entry, "mp_rank_") || starts(entry, "iter_") ||
               starts(entry, "latest_checkpointed_iteration");
    });
}

std::unique_ptr<TensorSource> open_folder(const fs::path& folder) {
    const auto has = [&](const char* name) { return fs::exists(folder / name); };
    if (has("model.safetensors.index.json") || has("model.safetensors"))
        return open_safetensors_folder(folder);
    if (has("pytorch_model.bin.index.json") || has("pytorch_model.bin")) return open_torch_bin_folder(folder);
    if (is_megatron(folder)) {
        fail("{} is a Megatron checkpoint; convert it to a Hugging Face folder: {}", folder.string(),
             fmt::format(megatron_command, folder.string()));
    }
    if (has("model_config.yaml")) {
        fail("{} is an unpacked NeMo checkpoint; convert it to a Hugging Face folder: {}", folder.string(),
             fmt::format(nemo_command, folder.string()));
    }
    fail(
        "{} has none of model.safetensors.index.json, model.safetensors, pytorch_model.bin.index.json, "
        "pytorch_model.bin; "
        "name a Hugging Face folder, or a .safetensors, .gguf or .bin file",
        folder.string());
}

std::unique_ptr<TensorSource> open_any(const std::string& path) {
    ESPALIER_REQUIRE(fs::exists(path), "{} does not exist", path);
    if (fs::is_directory(path)) return open_folder(path);
    const auto extension = fs::path(path).extension().string();
    if (extension == ".safetensors") return open_safetensors(path);
    if (extension == ".gguf") return open_gguf(path);
    if (extension == ".bin") return open_torch_bin(path);
    if (extension == ".nemo") {
        fail("{} is a NeMo checkpoint; convert it to a Hugging Face folder: {}", path,
             fmt::format(nemo_command, path));
    }
    if (extension == ".distcp") {
        fail("{} is part of a Megatron checkpoint; convert its folder to a Hugging Face one: {}", path,
             fmt::format(megatron_command, fs::path(path).parent_path().string()));
    }
    if (extension == ".pt" || extension == ".pth" || extension == ".ckpt") {
        fail(
            "{} is a PyTorch training file; if it is a plain state dictionary of a Hugging Face model, "
            "convert it: python3 -c "
            "'import sys, torch; from safetensors.torch import save_file; d = torch.load(sys.argv[1], "
            "\"cpu\"); "
            "save_file({{k: v.clone().contiguous() for k, v in d.items()}}, sys.argv[2], {{\"format\": "
            "\"pt\"}})' {} "
            "model.safetensors",
            path, path);
    }
    fail("{}: expected a Hugging Face folder, or a .safetensors, .gguf or .bin file", path);
}

}  // namespace

int64_t find(const TensorSource& source, std::string_view name) {
    const auto& tensors = source.tensors();
    const auto found = std::ranges::find(tensors, name, &TensorInfo::name);
    return found == tensors.end() ? -1 : found - tensors.begin();
}

int64_t row_count(const Shape& shape) {
    return shape.empty() ? 1 : shape.front();
}

std::unique_ptr<TensorSource> open_weights(const std::string& path) {
    try {
        return open_any(path);
    } catch (const fs::filesystem_error& error) {
        fail_of_system("cannot read " + path, error.code().value());
    }
}

}  // namespace espalier::io
