// tokenizer.json and tokenizer_config.json of Hugging Face, read and written.
#pragma once

#include "src/json/field.hpp"
#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// UserError names the first component that is not supported, and those that are.
Definition parse_definition(std::string_view tokenizer_json);

/// Adds what a tokenizer_config.json tells: special tokens, chat template, longest input. A special token
/// that the vocabulary lacks stays unknown.
void apply_config(std::string_view tokenizer_config_json, Definition& definition);
void apply_config(const JsonField& tokenizer_config, Definition& definition);

/// A token's id: 0 .. 2^31 - 2.
int32_t id_at(const JsonField& field);

/// An entry of added_tokens or added_tokens_decoder.
AddedToken added_token(const JsonField& field, int32_t id);

/// The content of a special token such as "bos_token" in a tokenizer_config.json, where it has one.
std::optional<std::string> token_named(const JsonField& config, const char* name);

std::string tokenizer_json(const Definition& definition);
std::string tokenizer_config_json(const Definition& definition);

/// The added token's id, else that of the vocabulary.
std::optional<int32_t> id_of(const Definition& definition, std::string_view token);

}  // namespace espalier::tokenizer
