// Encodes texts with our tokenizer, for comparison with others:
//   encode_lines TOKENIZER(.json .gguf .model) add|none [EXPORT_FOLDER] < lines, each a JSON string > lines
//   of
//   {"ids": [...], "text": decoded, "plain": decoded without special tokens}
// With EXPORT_FOLDER it also writes there the files that a Hugging Face folder has of the same tokenizer.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "io/gguf.hpp"
#include "src/tokenizer/folder_files.hpp"
#include "src/tokenizer/gguf_vocabulary.hpp"

namespace {

using namespace espalier;
using tokenizer::Tokenizer;

std::string contents(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

tokenizer::GgufVocabulary gguf_vocabulary(const std::string& path) {
    const auto file = io::open_gguf(path);
    const std::string prefix = "tokenizer.ggml.";
    tokenizer::GgufVocabulary vocabulary;
    vocabulary.model = file->text(prefix + "model").value_or("");
    vocabulary.pre = file->text(prefix + "pre").value_or("");
    vocabulary.tokens = file->texts(prefix + "tokens").value_or(std::vector<std::string>());
    vocabulary.token_types = file->integers(prefix + "token_type").value_or(std::vector<int64_t>());
    vocabulary.merges = file->texts(prefix + "merges").value_or(std::vector<std::string>());
    vocabulary.bos = file->integer(prefix + "bos_token_id");
    vocabulary.eos = file->integer(prefix + "eos_token_id");
    vocabulary.unk = file->integer(prefix + "unknown_token_id");
    vocabulary.pad = file->integer(prefix + "padding_token_id");
    vocabulary.scores = file->reals(prefix + "scores").value_or(std::vector<double>());
    vocabulary.add_space_prefix = file->boolean(prefix + "add_space_prefix").value_or(true);
    vocabulary.add_bos = file->boolean(prefix + "add_bos_token").value_or(is_sentencepiece(vocabulary));
    vocabulary.add_eos = file->boolean(prefix + "add_eos_token").value_or(false);
    vocabulary.chat_template = file->text("tokenizer.chat_template");
    return vocabulary;
}

Tokenizer open(const std::filesystem::path& path) {
    if (path.extension() == ".gguf") return Tokenizer::from_gguf(gguf_vocabulary(path));
    const auto beside = [&](const char* name) { return contents(path.parent_path() / name); };
    if (path.extension() == ".model")
        return Tokenizer::from_sentencepiece(
            contents(path), {beside("tokenizer_config.json"), beside("special_tokens_map.json"),
                             beside("added_tokens.json")});
    return Tokenizer::from_json(contents(path), beside("tokenizer_config.json"));
}

/// What a Hugging Face folder has of the same tokenizer.
std::map<std::string, std::string> files_of(const std::filesystem::path& path, const Tokenizer& tokenizer) {
    if (path.extension() == ".gguf") return tokenizer::files_of(gguf_vocabulary(path));
    return {{"tokenizer.json", tokenizer.to_json()}, {"tokenizer_config.json", tokenizer.config_json()}};
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 3) {
        std::cerr << "encode_lines TOKENIZER add|none [EXPORT_FOLDER]\n";
        return 2;
    }
    const Tokenizer tokenizer = open(argv[1]);
    const auto special =
        std::string_view(argv[2]) == "add" ? tokenizer::Special::add : tokenizer::Special::none;
    if (argc > 3) {
        const std::filesystem::path folder = argv[3];
        for (const auto& [name, content] : files_of(argv[1], tokenizer))
            std::ofstream(folder / name, std::ios::binary) << content;
    }
    for (std::string line; std::getline(std::cin, line);) {
        const auto ids = tokenizer.encode(nlohmann::json::parse(line).get<std::string>(), special);
        const auto text = tokenizer.decode(ids, tokenizer::SkipSpecial::no);
        const auto plain = tokenizer.decode(ids, tokenizer::SkipSpecial::yes);
        std::cout << nlohmann::json{{"ids", ids}, {"text", text}, {"plain", plain}}.dump() << '\n';
    }
    return 0;
} catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
}
