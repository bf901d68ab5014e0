// A vocabulary whose merges can be followed by hand, as a tokenizer.json.
#pragma once

#include <nlohmann/json.hpp>

#include "src/tokenizer/gguf_vocabulary.hpp"
#include "src/tokenizer/tokenizer.hpp"

namespace espalier::test {

/// Ids 0..255: the bytes themselves. From 256 on the merges, in this order:
///   256 "Ġt"  257 "he"  258 "Ġthe"  259 "in"  260 "ing"  261 "ll"  262 "12"
/// 263 "then", which no merge makes; 264 <bos>, 265 <eos>, both special added tokens.
/// ByteLevel with GPT-2's split, no normaliser, no post-processor.
nlohmann::json small_tokenizer();

tokenizer::GgufVocabulary small_gguf();

/// The SentencePiece kind, with "_" here for U+2581. Ids: 0 <unk>, 1 <s>, 2 </s>, all three special added
/// tokens; 3..258 <0x00>..<0xFF>; from 259 on the characters
///   259 "_"  260 "t"  261 "h"  262 "e"  263 "i"  264 "n"
/// and the merges, in this order:
///   265 "_t"  266 "he"  267 "_the"  268 "in"  269 "__"
/// Normaliser, decoder and post-processor are Llama 2's: "_" before a text, <s> before its ids.
nlohmann::json small_character_tokenizer();

/// `small_tokenizer()` with another field, and what comes of it.
tokenizer::Tokenizer with(const std::string& pointer, nlohmann::json value);

nlohmann::json split(const std::string& regex, const std::string& behavior = "Isolated", bool invert = false);
nlohmann::json byte_level(bool add_prefix_space, bool use_regex);
nlohmann::json in_sequence(std::vector<nlohmann::json> components, const std::string& list = "pretokenizers");
nlohmann::json replace(const std::string& pattern, const std::string& content);
/// A post-processor that puts a token before a text.
nlohmann::json beginning_with(int id, const std::string& token);
nlohmann::json added(int id, const std::string& content);

using Ids = std::vector<int32_t>;

/// The ids of each byte of `text`.
Ids bytes(std::string_view text);

}  // namespace espalier::test
