#include "jobs/tokenizer_files.hpp"

#include <algorithm>
#include <filesystem>

#include "io/publish.hpp"
#include "jobs/model_file.hpp"
#include "src/core/error.hpp"
#include "src/json/field.hpp"
#include "src/json/parse.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;
using tokenizer::Tokenizer;

Tokenizer from_folder(const fs::path& folder) {
    const auto content = [&](const char* name) {
        return fs::exists(folder / name) ? io::read_file((folder / name).string()) : std::string();
    };
    if (fs::exists(folder / "tokenizer.json"))
        return Tokenizer::from_json(content("tokenizer.json"), content("tokenizer_config.json"));
    if (fs::exists(folder / "tokenizer.model"))
        return Tokenizer::from_sentencepiece(content("tokenizer.model"));
    fail("{}: the folder holds neither tokenizer.json nor tokenizer.model", folder.string());
}

bool has(const io::TensorFileReader& reader, const char* name) {
    const auto& names = reader.byte_names();
    return std::find(names.begin(), names.end(), name) != names.end();
}

Tokenizer from_model_file(const std::string& path) {
    const io::TensorFileReader reader(path, MPI_COMM_SELF, model_format);
    if (has(reader, "tokenizer/tokenizer.json")) {
        return Tokenizer::from_json(reader.read_bytes("tokenizer/tokenizer.json"),
                                    has(reader, "tokenizer/tokenizer_config.json")
                                        ? reader.read_bytes("tokenizer/tokenizer_config.json")
                                        : "");
    }
    if (has(reader, "tokenizer/tokenizer.model"))
        return Tokenizer::from_sentencepiece(reader.read_bytes("tokenizer/tokenizer.model"));
    fail("{}: the model carries no tokenizer; give --tokenizer PATH of a tokenizer.json", path);
}

}  // namespace

bool carries_tokenizer(const io::TensorFileReader& model) {
    return has(model, "tokenizer/tokenizer.json") || has(model, "tokenizer/tokenizer.model");
}

std::vector<int64_t> ends_of_text(const ModelFile& model) {
    constexpr const char* name = "tokenizer/generation_config.json";
    std::vector<int64_t> out = model.architecture().conventions.eos;
    if (!has(model.reader(), name)) return out;
    const std::string place = model.path() + ": " + name;
    const auto config = parse_json(model.reader().read_bytes(name), place, {.unique_keys = false});
    for (const int64_t id : JsonField(config, place).integers("eos_token_id")) out.push_back(id);
    return out;
}

std::optional<tokenizer::GgufVocabulary> gguf_vocabulary(const io::GgufFile& file) {
    const auto model = file.text("tokenizer.ggml.model");
    if (!model || *model != "gpt2") return std::nullopt;
    tokenizer::GgufVocabulary out;
    out.model = *model;
    out.pre = file.text("tokenizer.ggml.pre").value_or("");
    out.tokens = file.texts("tokenizer.ggml.tokens").value_or(std::vector<std::string>{});
    out.token_types = file.integers("tokenizer.ggml.token_type").value_or(std::vector<int64_t>{});
    out.merges = file.texts("tokenizer.ggml.merges").value_or(std::vector<std::string>{});
    out.bos = file.integer("tokenizer.ggml.bos_token_id");
    out.eos = file.integer("tokenizer.ggml.eos_token_id");
    out.unk = file.integer("tokenizer.ggml.unknown_token_id");
    out.pad = file.integer("tokenizer.ggml.padding_token_id");
    out.add_bos = file.boolean("tokenizer.ggml.add_bos_token").value_or(false);
    out.add_eos = file.boolean("tokenizer.ggml.add_eos_token").value_or(false);
    out.chat_template = file.text("tokenizer.chat_template");
    if (const auto architecture = file.text("general.architecture"))
        out.context_length = file.integer(*architecture + ".context_length");
    return out;
}

namespace {

Tokenizer open_any(const std::string& path) {
    if (fs::is_directory(path)) return from_folder(path);
    if (path.ends_with(".gguf")) {
        const auto file = io::open_gguf(path);
        const auto vocabulary = gguf_vocabulary(*file);
        ESPALIER_REQUIRE(vocabulary.has_value(),
                         "its tokenizer ({}) is not byte-level BPE; give the model's tokenizer.json or "
                         "tokenizer.model instead",
                         file->text("tokenizer.ggml.model").value_or("none"));
        return Tokenizer::from_gguf(*vocabulary);
    }
    if (path.ends_with(".h5")) return from_model_file(path);
    if (path.ends_with(".model")) return Tokenizer::from_sentencepiece(io::read_file(path));
    if (path.ends_with(".json")) {
        const fs::path config = fs::path(path).parent_path() / "tokenizer_config.json";
        return Tokenizer::from_json(io::read_file(path),
                                    fs::exists(config) ? io::read_file(config.string()) : "");
    }
    fail(
        "not a tokenizer; expected tokenizer.json, tokenizer.model, a .gguf, an M.h5 or a folder with one of "
        "the first two");
}

}  // namespace

Tokenizer open_tokenizer(const std::string& path) {
    io::check_input(path);
    try {
        return open_any(path);
    } catch (const UserError& e) {
        const std::string message = e.what();
        fail("{}", message.starts_with(path) ? message : path + ": " + message);
    }
}

}  // namespace espalier::jobs
