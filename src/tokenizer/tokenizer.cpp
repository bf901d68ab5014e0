#include "src/tokenizer/tokenizer.hpp"

#include "src/tokenizer/bpe.hpp"
#include "src/tokenizer/definition_json.hpp"
#include "src/tokenizer/gguf_vocabulary.hpp"
#include "src/tokenizer/sentencepiece_backend.hpp"
#include "src/tokenizer/sentencepiece_model.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
    Definition definition = parse_definition(tokenizer_json);
    if (!tokenizer_config_json.empty()) apply_config(tokenizer_config_json, definition);
    return Tokenizer(make_bpe(std::move(definition)));
}

Tokenizer Tokenizer::from_gguf(const GgufVocabulary& vocabulary) {
    if (is_sentencepiece(vocabulary))
        return from_sentencepiece(sentencepiece_model(vocabulary), sentencepiece_config(vocabulary));
    return Tokenizer(make_bpe(definition_of(vocabulary)));
}

Tokenizer Tokenizer::from_sentencepiece(std::string_view model, std::string_view tokenizer_config_json) {
    return Tokenizer(std::make_shared<SentencePieceBackend>(model, tokenizer_config_json));
}

std::map<std::string, std::string> files_of(const GgufVocabulary& vocabulary) {
    require_utf8(vocabulary.chat_template.value_or(""), "GGUF: tokenizer.chat_template");
    const Tokenizer tokenizer = Tokenizer::from_gguf(vocabulary);  // refuses what would not be read again
    if (is_sentencepiece(vocabulary))
        return {{"tokenizer.model", sentencepiece_model(vocabulary)},
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

std::string Tokenizer::to_json() const {
    return backend_->to_json();
}

std::string Tokenizer::config_json() const {
    return backend_->config_json();
}

}  // namespace espalier::tokenizer
