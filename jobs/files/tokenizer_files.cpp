#include "jobs/files/tokenizer_files.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "io/collective.hpp"
#include "io/damage.hpp"
#include "io/publish.hpp"
#include "io/sha256.hpp"
#include "jobs/files/model_file.hpp"
#include "src/core/error.hpp"
#include "src/json/field.hpp"
#include "src/json/parse.hpp"
#include "src/tokenizer/folder_files.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;
using tokenizer::Tokenizer;

/// A file of a model by its name, or nothing where the model has none of that name.
using ReadFile = std::function<std::optional<std::string>(const std::string&)>;

/// A tokenizer, and what users are told of the choice of its file, if anything.
struct Opened {
    Tokenizer tokenizer;
    std::string note;
};

tokenizer::FolderFiles folder_files(const ReadFile& read) {
    const auto content = [&](const char* name) { return read(name).value_or(""); };
    return {content("tokenizer_config.json"), content("special_tokens_map.json"),
            content("added_tokens.json")};
}

/// What stands in for a tokenizer.json that cannot be used because of `why`.
Opened from_model_beside(const std::string& model, const ReadFile& read, const std::string& why) try {
    return {Tokenizer::from_sentencepiece(model, folder_files(read)),
            fmt::format("tokenizer.json cannot be used, and tokenizer.model beside it is: {}", why)};
} catch (const UserError& e) {
    fail("{}\n  nor can tokenizer.model beside it: {}", why, e.what());
}

/// The one order in which a model's files are looked through; nothing where none is a tokenizer.
std::optional<Opened> from_files(const ReadFile& read) {
    if (const auto json = read("tokenizer.json")) {
        try {
            return Opened{Tokenizer::from_json(*json, read("tokenizer_config.json").value_or("")), ""};
        } catch (const UserError& e) {
            const auto model = read("tokenizer.model");
            if (!model) throw;
            return from_model_beside(*model, read, e.what());
        }
    }
    if (const auto model = read("tokenizer.model"))
        return Opened{Tokenizer::from_sentencepiece(*model, folder_files(read)), ""};
    return std::nullopt;
}

ReadFile files_in(const fs::path& folder) {
    return [folder](const std::string& name) {
        const fs::path path = folder / name;
        return fs::exists(path) ? std::optional(io::read_file(path.string())) : std::nullopt;
    };
}

Opened from_folder(const fs::path& folder) {
    const auto opened = from_files(files_in(folder));
    ESPALIER_REQUIRE(opened, "{}: the folder holds neither tokenizer.json nor tokenizer.model",
                     folder.string());
    return *opened;
}

bool has(const io::TensorFileReader& reader, const std::string& name) {
    const auto& names = reader.byte_names();
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// Nothing where the model carries none; UserError where it cannot be used.
std::optional<Opened> inside(const io::TensorFileReader& model) {
    return from_files([&](const std::string& name) {
        const std::string dataset = "tokenizer/" + name;
        return has(model, dataset) ? std::optional(model.read_bytes(dataset)) : std::nullopt;
    });
}

Opened from_model_file(const std::string& path) {
    const io::TensorFileReader reader(path, MPI_COMM_SELF, model_format);
    std::string why = "the model carries no tokenizer";
    try {
        if (const auto opened = inside(reader)) return *opened;
    } catch (const UserError& e) {
        why = fmt::format("the tokenizer inside cannot be used: {}", e.what());
    }
    fail(
        "{}: {}\n  import --tokenizer DIR puts one into the model; tokenize and generate take --tokenizer "
        "PATH, a tokenizer.json, tokenizer.model or .gguf",
        path, why);
}

}  // namespace

bool carries_tokenizer(const io::TensorFileReader& model) {
    return has(model, "tokenizer/tokenizer.json") || has(model, "tokenizer/tokenizer.model");
}

TokenizerFinding examine_tokenizer(const std::map<std::string, std::string>& files) {
    try {
        const auto opened = from_files([&](const std::string& name) {
            const auto found = files.find(name);
            return found == files.end() ? std::nullopt : std::optional(found->second);
        });
        if (!opened) return {"there is neither tokenizer.json nor tokenizer.model", ""};
        return {"", tokenizer::replace_invalid(opened->note)};
    } catch (const UserError& e) {
        return {tokenizer::replace_invalid(e.what()), ""};  // it may quote the file
    }
}

namespace {

std::optional<Tokenizer> usable_tokenizer(const std::string& model) {
    try {
        const auto opened = inside(io::TensorFileReader(model, MPI_COMM_SELF, model_format));
        return opened ? std::optional(opened->tokenizer) : std::nullopt;
    } catch (const io::DamagedFile&) {
        throw;
    } catch (const UserError&) {  // of a kind that no job can use
        return std::nullopt;
    }
}

}  // namespace

std::string text_ids_hash(const ModelFile& model) {
    if (!carries_tokenizer(model.reader())) return "";
    return io::on_root(model.reader().comm(), [&] {
        const auto tokenizer = usable_tokenizer(model.path());
        if (!tokenizer) return std::string();
        io::Sha256 hash;
        for (const int32_t id : tokenizer->text_ids())
            hash.update(fmt::format("{} {}\n", id, *tokenizer->token(id)));
        return hash.hex();
    });
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

tokenizer::GgufVocabulary gguf_vocabulary(const io::GgufFile& file) {
    const auto model = file.text("tokenizer.ggml.model");
    ESPALIER_REQUIRE(model, "GGUF: the file names no tokenizer (tokenizer.ggml.model)");
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
    // Files older than the key are SentencePiece's, and llama.cpp and transformers add bos to their texts.
    out.add_bos = file.boolean("tokenizer.ggml.add_bos_token").value_or(is_sentencepiece(out));
    out.add_eos = file.boolean("tokenizer.ggml.add_eos_token").value_or(false);
    if (is_sentencepiece(out)) {
        out.scores = file.reals("tokenizer.ggml.scores").value_or(std::vector<double>{});
        out.add_space_prefix = file.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
    }
    out.chat_template = file.text("tokenizer.chat_template");
    if (const auto architecture = file.text("general.architecture"))
        out.context_length = file.integer(*architecture + ".context_length");
    return out;
}

namespace {

Tokenizer from_gguf_file(const std::string& path) {
    const auto file = io::open_gguf(path);
    try {
        return Tokenizer::from_gguf(gguf_vocabulary(*file));
    } catch (const UserError& e) {
        fail("{}\n  give the model's tokenizer.json or tokenizer.model instead", e.what());
    }
}

/// A model that stands alone is read as it is.
Tokenizer from_model_path(const fs::path& path) {
    const std::string model = io::read_file(path.string());
    const ReadFile beside = files_in(path.parent_path());
    return beside("tokenizer_config.json") ? Tokenizer::from_sentencepiece(model, folder_files(beside))
                                           : Tokenizer::from_sentencepiece(model);
}

Tokenizer from_json_path(const fs::path& path) {
    const auto config = files_in(path.parent_path())("tokenizer_config.json");
    return Tokenizer::from_json(io::read_file(path.string()), config.value_or(""));
}

Opened open_any(const std::string& path) {
    if (fs::is_directory(path)) return from_folder(path);
    if (path.ends_with(".h5") || io::is_tensor_file(path)) return from_model_file(path);
    if (path.ends_with(".gguf")) return {from_gguf_file(path), ""};
    if (path.ends_with(".model")) return {from_model_path(path), ""};
    if (path.ends_with(".json")) return {from_json_path(path), ""};
    fail(
        "not a tokenizer; expected tokenizer.json, tokenizer.model, a .gguf, an M.h5 or a folder with one of "
        "the first two");
}

}  // namespace

Tokenizer open_tokenizer(const std::string& path, const Log& log) {
    io::check_input(path);
    try {
        const Opened opened = open_any(path);
        if (!opened.note.empty()) log.info("{}: {}", path, opened.note);
        return opened.tokenizer;
    } catch (const UserError& e) {
        const std::string message = e.what();
        fail("{}", message.starts_with(path) ? message : path + ": " + message);
    }
}

}  // namespace espalier::jobs
