#include "tests/fuzz/readers.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "io/gguf.hpp"
#include "io/hdf5.hpp"
#include "io/indexed_dataset.hpp"
#include "io/publish.hpp"
#include "io/safetensors.hpp"
#include "io/tensor_catalogue.hpp"
#include "io/torch_bin.hpp"
#include "io/torch_pickle.hpp"
#include "src/json/parse.hpp"
#include "src/model/hugging_face.hpp"
#include "src/model/parameters.hpp"
#include "tests/io/weight_files.hpp"

namespace espalier::test {
namespace {

namespace fs = std::filesystem;

// Files in memory behind names in a folder of this process: a disk would be the slowest part by far.
class Files {
public:
    Files() { fs::create_directories(folder_); }
    ~Files() {
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
    }
    std::string folder() const { return folder_.string(); }
    std::string write(const std::string& name, const std::string& bytes) {
        const auto path = folder_ / name;
        const auto [found, is_new] = descriptors_.try_emplace(name, -1);
        if (is_new) {
            found->second = ::memfd_create(name.c_str(), 0);
            fs::create_symlink("/proc/self/fd/" + std::to_string(found->second), path);
        }
        const auto size = static_cast<ssize_t>(bytes.size());
        if (::ftruncate(found->second, 0) != 0 ||
            ::pwrite(found->second, bytes.data(), bytes.size(), 0) != size) {
            throw InternalError("cannot write to memory");
        }
        return path.string();
    }

    /// The same in the folder itself: HDF5 wants the path of what it opens.
    std::string write_there(const std::string& name, const std::string& bytes) {
        const auto path = (folder_ / name).string();
        std::ofstream out(path, std::ios::binary | std::ios::trunc);
        if (!out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush())
            throw InternalError("cannot write " + path);
        return path;
    }

private:
    fs::path folder_ = (fs::is_directory("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path()) /
                       ("espalier-fuzz-" + std::to_string(::getpid()));
    std::map<std::string, int> descriptors_;
};

Files& files() {
    static Files made;
    return made;
}

void read_all(const io::TensorSource& source) {
    for (size_t i = 0; i < source.tensors().size(); ++i) {
        const auto& info = source.tensors()[i];
        if (!info.readable) continue;
        const auto rows = io::row_count(info.shape), row = row_elements(info.shape);
        const auto group = row == 0 ? rows : std::max<int64_t>(1, 4096 / row);
        for (int64_t first = 0; first < rows; first += group) {
            const auto count = std::min(group, rows - first);
            std::vector<std::byte> out(static_cast<size_t>(count * row) * size_of(info.dtype));
            source.read_rows(i, first, count, out);
        }
    }
}

std::string f32_bytes(size_t count) {
    return raw(std::vector<float>(count, 1.5F));
}

std::vector<std::string> safetensors_seeds() {
    return {safetensors_bytes(
                R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                R"("b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},)"
                R"("c":{"dtype":"F16","shape":[1,0],"data_offsets":[26,26]}}   )",
                f32_bytes(6) + "ab"),
            safetensors_bytes(R"({"x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},)"
                              R"("y":{"dtype":"F64","shape":[1],"data_offsets":[4,12]},)"
                              R"("z":{"dtype":"F4","shape":[2],"data_offsets":[12,13]}})",
                              std::string(13, 'x'))};
}

std::vector<std::string> index_seeds() {
    return {R"({"metadata":{"total_size":26},"weight_map":{"a":"shard","b":"shard"}})"};
}

void read_index(const std::string& bytes) {
    files().write("shard", safetensors_seeds().front());
    files().write("model.safetensors.index.json", bytes);
    read_all(*io::open_safetensors_folder(files().folder()));
}

std::vector<std::string> gguf_seeds() {
    GgufFileSpec plain{
        .metadata = {gguf_value("general.architecture", 8, gguf_text("llama")),
                     gguf_value("general.alignment", 4, raw<uint32_t>(32)), gguf_value("f", 6, raw(1.5F)),
                     gguf_value("b", 7, raw<uint8_t>(1)),
                     gguf_array("tokens", 8, 2, gguf_text("a") + gguf_text("bc")),
                     gguf_array("heads", 5, 2, raw<int32_t>(1) + raw<int32_t>(2))},
        .tensors = {{"w", {3, 2}, 0, f32_bytes(6)}, {"h", {1, 1, 2, 1}, 1, "abcd"}, {"s", {}, 30, "ab"}}};
    GgufFileSpec quantised;
    const std::pair<uint32_t, size_t> blocks[] = {{2, 18}, {3, 20}, {6, 22}, {7, 24}, {8, 34}};
    for (const auto& [type, size] : blocks) {
        quantised.tensors.push_back({"q" + std::to_string(type), {32, 2}, type, std::string(2 * size, 'q')});
    }
    const std::pair<uint32_t, size_t> large_blocks[] = {{12, 144}, {13, 176}, {14, 210}, {10, 84}};
    for (const auto& [type, size] : large_blocks) {
        quantised.tensors.push_back({"k" + std::to_string(type), {256}, type, std::string(size, 'k')});
    }
    return {gguf_bytes(plain), gguf_bytes(quantised)};
}

void read_gguf(const std::string& bytes) {
    const auto source = io::open_gguf(files().write("m.gguf", bytes));
    read_all(*source);
    for (const auto& key : source->keys()) {  // asked for as everything, whatever it is
        const auto ask = [&](auto getter) {
            try {
                (source.get()->*getter)(key);
            } catch (const UserError&) {
            }
        };
        ask(&io::GgufFile::text), ask(&io::GgufFile::integer), ask(&io::GgufFile::real),
            ask(&io::GgufFile::boolean);
        ask(&io::GgufFile::texts), ask(&io::GgufFile::integers), ask(&io::GgufFile::reals);
    }
}

std::vector<TorchTensor> torch_tensors() {
    return {{"w", "FloatStorage", "0", 6, 0, {2, 3}, {3, 1}, true},
            {"v", "FloatStorage", "0", 6, 4, {2}, {1}},
            {"b", "BFloat16Storage", "1", 2, 1, {}, {}},
            {"i", "LongStorage", "2", 1, 0, {1}, {1}}};
}

std::vector<std::string> torch_seeds() {
    return {torch_bin_bytes(torch_tensors(), {{"0", f32_bytes(6)}, {"1", "abcd"}, {"2", "12345678"}}),
            zip64_bytes({{"m/data.pkl", pickle_bytes({torch_tensors()[1]})}, {"m/data/0", f32_bytes(6)}})};
}

std::vector<std::string> pickle_seeds() {
    return {pickle_bytes(torch_tensors()), pickle_bytes({})};
}

std::vector<std::string> token_index_seeds() {
    // Three sequences of 4, 0 and 6 tokens of two bytes in two documents (formats: Megatron's
    // IndexedDataset).
    return {std::string("MMIDIDX\0\0", 9) + raw<uint64_t>(1) + raw<uint8_t>(8) + raw<uint64_t>(3) +
            raw<uint64_t>(3) + raw(std::vector<int32_t>{4, 0, 6}) + raw(std::vector<int64_t>{0, 8, 8}) +
            raw(std::vector<int64_t>{0, 2, 3})};
}

void read_token_index(const std::string& bytes) {
    files().write("tokens.bin", std::string(20, '\1'));
    files().write("tokens.idx", bytes);
    const io::IndexedDataset tokens(files().folder() + "/tokens");
    for (int64_t i = 0; i < tokens.count(); ++i) {
        std::vector<int32_t> ids(static_cast<size_t>(tokens.length(i)));
        tokens.read(i, 0, ids);
    }
    tokens.check_ids(1 << 16, {0, tokens.tokens()});
}

// Without TensorFileWriter, which wants MPI: what it would write, by the same calls.
std::vector<std::string> tensor_file_seeds() {
    const std::string path = files().write_there("seed.h5", "");
    {
        const auto file = io::hdf5::create_file(path);
        const auto group = io::hdf5::require_group(file, "parameters");
        uint64_t index = 0;
        for (const auto& [name, dtype] :
             {std::pair{"a", DType::f32}, {"b", DType::bf16}, {"c", DType::f64}}) {
            const auto dataset = io::hdf5::create_dataset(group, name, dtype, {3, 2});
            io::hdf5::write_attribute(dataset, "axes", std::vector<std::string>{"vocab", "hidden"});
            io::hdf5::write_attribute(dataset, "checksum", uint64_t{7});
            io::hdf5::write_attribute(dataset, "index", index++);
        }
        const auto bytes =
            io::hdf5::create_dataset(io::hdf5::require_group(file, "tokenizer"), "t.json", DType::u8, {5});
        io::hdf5::write_attribute(bytes, "checksum", uint64_t{7});
        const auto root = io::hdf5::require_group(file, "");
        io::Catalogue hashes = {
            {{{"parameters/a", {3, 2}, DType::f32, {"vocab", "hidden"}}, 0, 7},
             {{"parameters/b", {3, 2}, DType::bf16, {"vocab", "hidden"}}, 0, 7},
             {{"parameters/c", {3, 2}, DType::f64, {"vocab", "hidden"}}, 0, 7}},
            {{{"tokenizer/t.json", {5}, DType::u8, {}}, 0, 7}},
            {{"format", "espalier-model"}, {"format_version", int64_t{1}}, {"loss", 2.5}}};
        for (const auto& [name, value] : hashes.attributes)
            io::hdf5::write_attribute(root, name.c_str(), value);
        io::hdf5::write_attribute(root, "content_sha256", hashes.content_sha256());
        io::hdf5::write_attribute(root, "metadata_sha256", hashes.metadata_sha256());
    }
    return {io::read_file(path)};
}

void read_tensor_file(const std::string& bytes) {
    H5garbage_collect();
    io::deserialised(io::serialised(io::read_catalogue(files().write_there("m.h5", bytes))));
}

// Both spellings of transformers, each family, and all that is optional.
std::vector<std::string> config_seeds() {
    return {
        R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":96,"hidden_size":24,)"
        R"("num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":40,)"
        R"("hidden_act":"silu","rms_norm_eps":1e-5,"rope_theta":1e4,"tie_word_embeddings":true,)"
        R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,)"
        R"("original_max_position_embeddings":64},"attention_bias":true,"mlp_bias":false,"bos_token_id":1,)"
        R"("eos_token_id":[2,3],"pad_token_id":null,"max_position_embeddings":128,"head_dim":8})",
        R"({"architectures":["NemotronForCausalLM"],"model_type":"nemotron","vocab_size":96,)"
        R"("hidden_size":32,"num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":2,)"
        R"("intermediate_size":40,"hidden_act":"relu2","norm_eps":1e-5,"partial_rotary_factor":0.5,)"
        R"("rope_parameters":{"rope_type":"default","rope_theta":10000.0},"kv_channels":8})",
        R"({"architectures":["MistralForCausalLM"],"model_type":"mistral","vocab_size":96,"hidden_size":24,)"
        R"("num_hidden_layers":3,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":40,)"
        R"("hidden_act":"silu","rms_norm_eps":1e-5,"sliding_window":16,"head_dim":10,)"
        R"("rope_parameters":{"rope_type":"linear","rope_theta":10000.0,"factor":2.0}})",
        R"({"architectures":["Qwen2ForCausalLM"],"model_type":"qwen2","vocab_size":96,"hidden_size":24,)"
        R"("num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":40,)"
        R"("rms_norm_eps":1e-6,"use_sliding_window":true,"sliding_window":16,"max_window_layers":0,)"
        R"("layer_types":["sliding_attention","sliding_attention"],"max_position_embeddings":128})",
        R"({"architectures":["Qwen3ForCausalLM"],"model_type":"qwen3","vocab_size":96,"hidden_size":24,)"
        R"("num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":40,)"
        R"("head_dim":16,"rms_norm_eps":1e-6,"attention_bias":false,"use_sliding_window":false})",
        R"({"architectures":["PhiForCausalLM"],"model_type":"phi","vocab_size":96,"hidden_size":24,)"
        R"("num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":40,"hidden_act":"gelu_new",)"
        R"("layer_norm_eps":1e-5,"partial_rotary_factor":0.4,"qk_layernorm":false,"rope_theta":10000.0})"};
}

void read_config(const std::string& bytes) {
    const auto a = model::from_hugging_face(parse_json(bytes, "config.json"), "config.json");
    model::check(a, "config.json");
    if (a.depth() > 16) return;  // its table of parameters is rightly as long as the model is deep
    model::parameter_count(a);
    model::from_hugging_face(model::to_hugging_face(a, "float32"), "what was written");
}

}  // namespace

const std::vector<Reader>& readers() {
    static const std::vector<Reader> all{
        {"safetensors", safetensors_seeds,
         [](const std::string& bytes) {
             read_all(*io::open_safetensors(files().write("m.safetensors", bytes)));
         }},
        {"safetensors_index", index_seeds, read_index},
        {"gguf", gguf_seeds, read_gguf},
        {"torch_bin", torch_seeds,
         [](const std::string& bytes) { read_all(*io::open_torch_bin(files().write("m.bin", bytes))); }},
        {"torch_pickle", pickle_seeds,
         [](const std::string& bytes) { io::unpickle_tensors(bytes, "pickle"); }},
        {"token_index", token_index_seeds, read_token_index},
        {"tensor_file", tensor_file_seeds, read_tensor_file, 1 << 20, Leaks::of_a_library},
        {"config", config_seeds, read_config, 8 << 20},  // up to 100,000 layers of 24 bytes, twice
    };
    return all;
}

const Reader& reader(std::string_view name) {
    const auto found = std::ranges::find(readers(), name, &Reader::name);
    if (found == readers().end()) throw InternalError(fmt::format("no reader called {}", name));
    return *found;
}

}  // namespace espalier::test
