#include "jobs/files/foreign_model.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "io/gguf.hpp"
#include "io/publish.hpp"
#include "io/sha256.hpp"
#include "src/core/error.hpp"
#include "src/json/parse.hpp"
#include "src/model/architecture_json.hpp"
#include "src/model/gguf_metadata.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// What a Hugging Face folder may hold beside weights and config, and what its loaders look for.
constexpr std::array tokenizer_names{
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt",     "tokenizer.model",       "chat_template.jinja"};
constexpr std::string_view generation_config = "generation_config.json";

void carry(ForeignModel& out, const fs::path& folder, std::string_view name) {
    const fs::path path = folder / name;
    if (fs::exists(path)) out.tokenizer_files[std::string(name)] = io::read_file(path.string());
}

void read_folder(ForeignModel& out, const fs::path& folder) {
    const fs::path config = folder / "config.json";
    ESPALIER_REQUIRE(fs::exists(config),
                     "{}: no config.json beside the weights; put the model's config.json into {}", out.path,
                     folder.string());
    const json object = parse_json(io::read_file(config.string(), size_t{16} << 20), config.string());
    out.architecture = model::architecture_from_json(object, config.string());
    for (const char* name : tokenizer_names) carry(out, folder, name);
    carry(out, folder, generation_config);
}

/// Scalars and short lists of numbers; the vocabulary's long lists are asked for by name.
json metadata_of(const io::GgufFile& file) {
    json out = json::object();
    for (const auto& key : file.keys()) {
        if (key.starts_with("tokenizer.ggml.tokens") || key.starts_with("tokenizer.ggml.merges") ||
            key.starts_with("tokenizer.ggml.scores") || key.starts_with("tokenizer.ggml.token_type")) {
            continue;
        }
        const auto attempt = [&](auto read) {
            try {
                if (const auto value = read()) {
                    out[key] = *value;
                    return true;
                }
            } catch (const UserError&) {
                // The key holds another type, which the next attempt asks for.
            }
            return false;
        };
        attempt([&] { return file.text(key); }) || attempt([&] { return file.boolean(key); }) ||
            attempt([&] { return file.integer(key); }) || attempt([&] { return file.real(key); }) ||
            attempt([&] { return file.integers(key); });
    }
    return out;
}

std::vector<float> rope_factors(const io::TensorSource& weights) {
    const int64_t index = io::find(weights, "rope_freqs.weight");
    if (index < 0) return {};
    const auto& info = weights.tensors()[index];
    std::vector<float> out(static_cast<size_t>(element_count(info.shape)));
    ESPALIER_REQUIRE(info.dtype == DType::f32, "rope_freqs.weight is stored as {}, expected F32", info.type);
    weights.read_rows(static_cast<size_t>(index), 0, io::row_count(info.shape),
                      std::as_writable_bytes(std::span(out)));
    return out;
}

/// What keeps a tokenizer from being read is no reason to leave the weights.
void read_gguf_tokenizer(ForeignModel& out, const io::GgufFile& file) try {
    out.tokenizer_files = tokenizer::files_of(gguf_vocabulary(file));
} catch (const UserError& e) {
    out.gguf_tokenizer_trouble = tokenizer::replace_invalid(e.what());  // it may quote the file
}

void read_gguf(ForeignModel& out) {
    auto file = io::open_gguf(out.path);
    json metadata = metadata_of(*file);
    std::vector<std::string> names;
    for (const auto& t : file->tensors()) names.push_back(t.name);
    const int64_t embedding = io::find(*file, "token_embd.weight");
    ESPALIER_REQUIRE(embedding >= 0, "{}: the tensor token_embd.weight is missing", out.path);
    metadata["vocab_size"] = io::row_count(file->tensors()[embedding].shape);
    out.architecture = model::from_gguf(metadata, names, rope_factors(*file), out.path);
    out.gguf = true;
    read_gguf_tokenizer(out, *file);
    out.weights = std::move(file);
}

}  // namespace

bool is_side_file(std::string_view name) {
    return name == generation_config ||
           std::find(tokenizer_names.begin(), tokenizer_names.end(), name) != tokenizer_names.end();
}

void take_tokenizer(ForeignModel& model, const std::string& folder) {
    io::check_input(folder);
    ESPALIER_REQUIRE(
        fs::exists(fs::path(folder) / "tokenizer.json") || fs::exists(fs::path(folder) / "tokenizer.model"),
        "--tokenizer {}: expected a folder that holds tokenizer.json or tokenizer.model", folder);
    for (const char* name : tokenizer_names) {
        model.tokenizer_files.erase(name);
        carry(model, folder, name);
    }
    model.gguf_tokenizer_trouble.clear();
}

TokenizerFinding examine_tokenizer(const ForeignModel& model) {
    if (!model.gguf_tokenizer_trouble.empty()) return {model.gguf_tokenizer_trouble, ""};
    return examine_tokenizer(model.tokenizer_files);
}

model::ForeignTensor ForeignModel::tensor_of(const model::Parameter& p) const {
    const char* fused = gguf ? "blk.0.attn_qkv.weight" : "model.layers.0.self_attn.qkv_proj.weight";
    const auto projections =
        io::find(*weights, fused) >= 0 ? model::Projections::fused : model::Projections::apart;
    return gguf ? model::gguf_tensor(architecture, p, projections)
                : model::hugging_face_tensor(architecture, p, projections);
}

ForeignModel open_foreign_model(const std::string& path) {
    io::check_input(path);
    ForeignModel out;
    out.path = path;
    if (path.ends_with(".gguf")) {
        read_gguf(out);
        return out;
    }
    out.weights = io::open_weights(path);
    read_folder(out, fs::is_directory(path) ? fs::path(path) : fs::absolute(path).parent_path());
    return out;
}

std::string source_sha256(const Session& session, const ForeignModel& source) {
    const auto files = source.weights->files();
    const auto owner = [&](size_t i) {
        return static_cast<int>(i % static_cast<size_t>(session.world().size()));
    };
    std::vector<std::string> hashes(files.size());
    for (size_t i = 0; i < files.size(); ++i) {
        if (session.world().rank() == owner(i)) hashes[i] = io::sha256_of_file(files[i]);
    }
    std::string lines, last;
    for (size_t i = 0; i < files.size(); ++i) {
        last = session.world().broadcast(hashes[i], owner(i));
        lines += last + "  " + fs::path(files[i]).filename().string() + "\n";
    }
    if (files.size() == 1) return last;
    io::Sha256 all;
    all.update(lines);
    return all.hex();
}

void require_equal(const io::TensorSource& weights, size_t a, size_t b, const std::string& path) {
    const auto& x = weights.tensors()[a];
    const auto& y = weights.tensors()[b];
    bool equal = x.shape == y.shape && x.dtype == y.dtype;
    const int64_t rows = equal ? io::row_count(x.shape) : 0;
    const auto row_bytes = static_cast<size_t>(row_elements(x.shape)) * size_of(x.dtype);
    std::vector<std::byte> p(row_bytes), q(row_bytes);
    for (int64_t r = 0; r < rows && equal; ++r) {
        weights.read_rows(a, r, 1, p);
        weights.read_rows(b, r, 1, q);
        equal = p == q;
    }
    ESPALIER_REQUIRE(equal,
                     "{}: the configuration ties {} to {}, but they differ; set tie_word_embeddings to false "
                     "to import both",
                     path, x.name, y.name);
}

std::optional<DType> parse_store_dtype(const std::string& text) {
    if (text.empty()) return std::nullopt;
    ESPALIER_REQUIRE(text == "f32" || text == "bf16", "--store-dtype {}: choose f32 or bf16", text);
    return dtype_from_string(text);
}

}  // namespace espalier::jobs
