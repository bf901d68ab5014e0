#include "src/tokenizer/gguf_vocabulary.hpp"

#include <algorithm>
#include <array>

#include "src/core/error.hpp"
#include "src/tokenizer/byte_alphabet.hpp"
#include "src/tokenizer/merges.hpp"
#include "src/tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

constexpr int64_t control = 3, user_defined = 4;

constexpr const char* llama3_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* qwen2_pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* tekken_pattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct PreTokenization {
    std::string_view id;
    const char* pattern;  // null: GPT-2's
};
constexpr std::array<PreTokenization, 11> pre_tokenizations = {{{"", nullptr},
                                                                {"default", nullptr},
                                                                {"gpt-2", nullptr},
                                                                {"smollm", nullptr},
                                                                {"llama-bpe", llama3_pattern},
                                                                {"llama3", llama3_pattern},
                                                                {"llama-v3", llama3_pattern},
                                                                {"smaug-bpe", llama3_pattern},
                                                                {"qwen2", qwen2_pattern},
                                                                {"deepseek-r1-qwen", qwen2_pattern},
                                                                {"tekken", tekken_pattern}}};

void set_split(const std::string& pre, Definition& definition) {
    const auto found = std::find_if(pre_tokenizations.begin(), pre_tokenizations.end(),
                                    [&](const auto& known) { return known.id == pre; });
    ESPALIER_REQUIRE(
        found != pre_tokenizations.end(),
        "GGUF: tokenizer.ggml.pre '{}' is not supported; supported: default, gpt-2, smollm, llama-bpe "
        "(llama3, llama-v3, smaug-bpe), qwen2 (deepseek-r1-qwen), tekken",
        pre);
    if (found->pattern == nullptr) {
        definition.gpt2_split = true;
    } else {
        definition.splits.push_back({found->pattern, SplitBehavior::isolated, false});
    }
}

// Control tokens, user-defined ones, and the four that have a part. One that is not written in the byte
// alphabet is an ordinary token of the vocabulary.
void add_tokens(const GgufVocabulary& vocabulary, Definition& definition) {
    const SpecialIds& special = definition.special;
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
        const auto id = static_cast<int32_t>(i);
        const int64_t type = vocabulary.token_types.empty() ? 0 : vocabulary.token_types[i];
        const bool is_special = type == control || id == special.bos || id == special.eos ||
                                id == special.unk || id == special.pad;
        if (!is_special && type != user_defined) continue;
        const std::string& content = vocabulary.tokens[i];
        const auto in_vocabulary = definition.vocabulary.find(content);
        if (content.empty() || in_vocabulary == definition.vocabulary.end() || in_vocabulary->second != id)
            continue;
        definition.added_tokens.push_back({.id = id, .content = content, .special = is_special});
    }
}

std::pair<std::string, std::string> merge(const std::string& text, size_t rank) {
    const auto parts = split_merge(text);
    ESPALIER_REQUIRE(parts.has_value(),
                     "GGUF: tokenizer.ggml.merges[{}] is '{}', not two tokens with a space between", rank,
                     text);
    return *parts;
}

}  // namespace

std::optional<int32_t> checked_id(std::optional<int64_t> id, const char* key,
                                  const GgufVocabulary& vocabulary) {
    if (!id) return std::nullopt;
    ESPALIER_REQUIRE(0 <= *id && *id < static_cast<int64_t>(vocabulary.tokens.size()),
                     "GGUF: tokenizer.ggml.{} is {}, but there are {} tokens; the file is damaged", key, *id,
                     vocabulary.tokens.size());
    return static_cast<int32_t>(*id);
}

SpecialIds special_ids(const GgufVocabulary& vocabulary) {
    return {checked_id(vocabulary.bos, "bos_token_id", vocabulary),
            checked_id(vocabulary.eos, "eos_token_id", vocabulary),
            checked_id(vocabulary.unk, "unknown_token_id", vocabulary),
            checked_id(vocabulary.pad, "padding_token_id", vocabulary)};
}

std::vector<std::pair<std::string, std::string>> listed_merges(const GgufVocabulary& vocabulary) {
    std::vector<std::pair<std::string, std::string>> out;
    for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
        require_utf8(vocabulary.merges[rank], fmt::format("GGUF: tokenizer.ggml.merges[{}]", rank));
        out.push_back(merge(vocabulary.merges[rank], rank));
    }
    return out;
}

void set_ends(const GgufVocabulary& vocabulary, Definition& definition) {
    ESPALIER_REQUIRE(
        !vocabulary.add_bos || definition.special.bos,
        "GGUF: tokenizer.ggml.add_bos_token is set, but there is no bos_token_id; the file is incomplete");
    ESPALIER_REQUIRE(
        !vocabulary.add_eos || definition.special.eos,
        "GGUF: tokenizer.ggml.add_eos_token is set, but there is no eos_token_id; the file is incomplete");
    if (vocabulary.add_bos) definition.before = {*definition.special.bos};
    if (vocabulary.add_eos) definition.after = {*definition.special.eos};
}

Definition definition_of(const GgufVocabulary& vocabulary) {
    ESPALIER_REQUIRE(vocabulary.model == "gpt2",
                     "GGUF: tokenizer.ggml.model '{}' is not supported; supported: gpt2 (byte-level BPE) and "
                     "llama (SentencePiece)",
                     vocabulary.model);
    ESPALIER_REQUIRE(
        vocabulary.token_types.empty() || vocabulary.token_types.size() == vocabulary.tokens.size(),
        "GGUF: {} tokens but {} token types; the file is damaged", vocabulary.tokens.size(),
        vocabulary.token_types.size());
    Definition definition;
    set_split(vocabulary.pre, definition);
    for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
        const std::string& token = vocabulary.tokens[id];
        require_utf8(token, fmt::format("GGUF: tokenizer.ggml.tokens[{}]", id));
        definition.vocabulary.insert_or_assign(unspell(token) ? token : spell(token),
                                               static_cast<int32_t>(id));
    }
    definition.merges = listed_merges(vocabulary);
    definition.special = special_ids(vocabulary);
    add_tokens(vocabulary, definition);
    set_ends(vocabulary, definition);
    definition.chat_template = vocabulary.chat_template;
    definition.model_max_length = vocabulary.context_length;
    return definition;
}

}  // namespace espalier::tokenizer
