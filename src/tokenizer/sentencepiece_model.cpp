#include "src/tokenizer/sentencepiece_model.hpp"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "src/core/error.hpp"
#include "src/tokenizer/sentencepiece_vocabulary.hpp"
#include "src/tokenizer/unicode.hpp"
#include "src/tokenizer/wire_format.hpp"

namespace espalier::tokenizer {
namespace {

/// A user-defined token may stand in the file with its spaces as they are in text.
std::string piece(const std::string& token) {
    std::string out;
    for (const char c : token) out += c == ' ' ? "\u2581" : std::string(1, c);
    return out;
}

void check(const GgufVocabulary& v) {
    ESPALIER_REQUIRE(
        !v.tokens.empty() && v.token_types.size() == v.tokens.size() && v.scores.size() == v.tokens.size(),
        "GGUF: {} tokens, {} token types, {} scores; the file is damaged", v.tokens.size(),
        v.token_types.size(), v.scores.size());
    std::optional<double> first;
    bool differ = false;
    for (size_t id = 0; id < v.tokens.size(); ++id) {
        require_utf8(v.tokens[id], fmt::format("GGUF: tokenizer.ggml.tokens[{}]", id));
        const int64_t type = v.token_types[id];
        ESPALIER_REQUIRE(normal_piece <= type && type <= byte_piece && std::isfinite(v.scores[id]),
                         "GGUF: token {} has type {} and score {}; the file is damaged", id, type,
                         v.scores[id]);
        if (type != normal_piece) continue;
        if (!first) first = v.scores[id];
        differ = differ || v.scores[id] != *first;
    }
    ESPALIER_REQUIRE(differ,
                     "GGUF: the scores of all tokens are alike, so they do not say which are merged first");
}

/// The token of an id, as text and piece.
std::optional<std::string> named(const GgufVocabulary& v, std::optional<int64_t> id, const char* key) {
    if (const auto index = checked_id(id, key, v)) return piece(v.tokens[static_cast<size_t>(*index)]);
    return std::nullopt;
}

std::string trainer_spec(const GgufVocabulary& v) {
    constexpr uint64_t bpe = 2;
    Message out;
    out.number(3, bpe).number(4, v.tokens.size());
    out.number(35, std::count(v.token_types.begin(), v.token_types.end(), byte_piece) > 0);
    const auto put = [&](uint32_t field, std::optional<int64_t> id, const char* key) {
        if (const auto name = named(v, id, key)) out.text(field, *name);
    };
    put(45, v.unk, "unknown_token_id");
    put(46, v.bos, "bos_token_id");
    put(47, v.eos, "eos_token_id");
    put(48, v.pad, "padding_token_id");
    return out.bytes();
}

std::string normalizer_spec(const GgufVocabulary& v) {
    constexpr bool remove_extra_whitespaces = false, escape_whitespaces = true;
    return Message()
        .text(1, "identity")
        .number(3, v.add_space_prefix)
        .number(4, remove_extra_whitespaces)
        .number(5, escape_whitespaces)
        .bytes();
}

}  // namespace

std::string sentencepiece_model(const GgufVocabulary& v) {
    check(v);
    Message out;
    for (size_t id = 0; id < v.tokens.size(); ++id) {
        Message entry;
        entry.text(1, piece(v.tokens[id])).real(2, static_cast<float>(v.scores[id]));
        out.text(1, entry.number(3, static_cast<uint64_t>(v.token_types[id])).bytes());
    }
    return out.text(2, trainer_spec(v)).text(3, normalizer_spec(v)).bytes();
}

Definition sentencepiece_definition(const GgufVocabulary& v) {
    load_sentencepiece(sentencepiece_model(v));
    Definition out = definition_of(SentencePieceVocabulary{.pieces = v.tokens,
                                                           .types = v.token_types,
                                                           .special = special_ids(v),
                                                           .dummy_prefix = v.add_space_prefix});
    out.merges = v.merges.empty() ? merges_by_score(v.tokens, v.scores) : listed_merges(v);
    set_ends(v, out);
    out.chat_template = v.chat_template;
    out.model_max_length = v.context_length;
    return out;
}

std::string sentencepiece_config(const GgufVocabulary& v) {
    // AutoTokenizer puts no space before a text where no class is named.
    nlohmann::json out = {{"tokenizer_class", "LlamaTokenizer"},
                          {"add_bos_token", v.add_bos},
                          {"add_eos_token", v.add_eos},
                          {"add_prefix_space", v.add_space_prefix},
                          {"clean_up_tokenization_spaces", false},
                          {"legacy", false}};
    const auto put = [&](const char* name, std::optional<int64_t> id, const char* key) {
        if (const auto token = named(v, id, key)) out[name] = *token;
    };
    put("unk_token", v.unk, "unknown_token_id");
    put("bos_token", v.bos, "bos_token_id");
    put("eos_token", v.eos, "eos_token_id");
    put("pad_token", v.pad, "padding_token_id");
    if (v.chat_template) out["chat_template"] = *v.chat_template;
    if (v.context_length) out["model_max_length"] = *v.context_length;
    return out.dump(2);
}

}  // namespace espalier::tokenizer
