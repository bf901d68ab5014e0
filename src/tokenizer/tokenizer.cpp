#include "src/tokenizer/tokenizer.hpp"

#include "src/tokenizer/bpe.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/folder_files.hpp"
#include "src/tokenizer/gguf_vocabulary.hpp"
#include "src/tokenizer/sentencepiece_backend.hpp"
#include "src/tokenizer/sentencepiece_model.hpp"
#include "src/tokenizer/sentencepiece_vocabulary.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
    Definition definition = parse_definition(tokenizer_json);
    if (!tokenizer_config_json.empty()) apply_config(tokenizer_config_json, definition);
    return Tokenizer(make_bpe(std::move(definition)));
}

Tokenizer Tokenizer::from_gguf(const GgufVocabulary& vocabulary) {
    return Tokenizer(make_bpe(is_sentencepiece(vocabulary) ? sentencepiece_definition(vocabulary)
                                                           : definition_of(vocabulary)));
}

Tokenizer Tokenizer::from_sentencepiece(std::string_view model) {
    return Tokenizer(std::make_shared<SentencePieceBackend>(load_sentencepiece(model)));
}

Tokenizer Tokenizer::from_sentencepiece(std::string_view model, const FolderFiles& files) {
    auto processor = load_sentencepiece(model);
    const SentencePieceVocabulary vocabulary = read_vocabulary(*processor);
    Definition definition = definition_of(vocabulary);
    apply_folder(files, definition);
    if (!vocabulary.bpe || vocabulary.normalizes)
        return Tokenizer(std::make_shared<SentencePieceBackend>(std::move(processor), std::move(definition)));
    definition.merges = merges_by_id(vocabulary.pieces);
    return Tokenizer(make_bpe(std::move(definition)));
}

std::map<std::string, std::string> files_of(const GgufVocabulary& vocabulary) {
    require_utf8(vocabulary.chat_template.value_or(""), "GGUF: tokenizer.chat_template");
    const Tokenizer tokenizer = Tokenizer::from_gguf(vocabulary);
    if (is_sentencepiece(vocabulary))
        return {{"tokenizer.json", tokenizer.to_json()},
                {"tokenizer.model", sentencepiece_model(vocabulary)},
                {"tokenizer_config.json", sentencepiece_config(vocabulary)}};
    return {{"tokenizer.json", tokenizer.to_json()}, {"tokenizer_config.json", tokenizer.config_json()}};
}

std::vector<int32_t> Tokenizer::encode(std::string_view utf8, Special special) const {
    require_utf8(utf8, "the text to tokenize");
    return backend_->encode(utf8, special);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, SkipSpecial skip) const {
    return backend_->decode(ids, skip);
}

int64_t Tokenizer::vocab_size() const {
    return backend_->vocab_size();
}

const SpecialIds& Tokenizer::special_ids() const {
    return backend_->special_ids();
}

std::optional<std::string> Tokenizer::token(int32_t id) const {
    return backend_->token(id);
}

std::optional<int32_t> Tokenizer::id(std::string_view token) const {
    return backend_->id(token);
}

std::vector<int32_t> Tokenizer::text_ids() const {
    return backend_->text_ids();
}

std::string Tokenizer::to_json() const {
    return backend_->to_json();
}

std::string Tokenizer::config_json() const {
    return backend_->config_json();
}

}  // namespace espalier::tokenizer
