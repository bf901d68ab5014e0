// Parts of a tokenizer.json that are named by their type: normaliser, pre-tokenizer, decoder.
#pragma once

#include "src/json/field.hpp"
#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// The parts of a component that may be a Sequence, whose parts stand under `list`.
std::vector<JsonField> flattened(const JsonField& component, const char* list);

/// UserError that names the component and what is supported in its place.
[[noreturn]] void unsupported(const JsonField& component, std::string_view supported);

// UserError for a type or an option that is not supported.
NormalizerStep read_normalizer_step(const JsonField& component);
/// Sets the alphabet, and what cuts a text.
void read_pre_tokenizer(const JsonField& root, Definition& definition);
/// Of the alphabet that read_pre_tokenizer found.
void read_decoder(const JsonField& root, Definition& definition);

nlohmann::json normalizer_json(const Definition& definition);
nlohmann::json pre_tokenizer_json(const Definition& definition);
nlohmann::json decoder_json(const Definition& definition);

/// ByteLevel, which is a pre-tokenizer, a decoder and a post-processor.
struct ByteLevel {
    bool add_prefix_space = true, use_regex = true;
};
nlohmann::json byte_level_json(ByteLevel fields = {});

}  // namespace espalier::tokenizer
