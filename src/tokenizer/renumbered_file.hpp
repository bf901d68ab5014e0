// The files of a tokenizer of which some tokens are gone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace espalier::tokenizer {

/// File of a tokenizer with the ids `kept` (ascending) renumbered 0, 1, ... and the others gone:
/// tokenizer.json, tokenizer_config.json, added_tokens.json, generation_config.json, which loses what asks
/// for tokens by number (force_words_ids, forced_decoder_ids, sequence_bias); others hold no ids and come
/// back as they are.
std::string renumbered_file(const std::string& name, const std::string& content,
                            const std::vector<int64_t>& kept);

}  // namespace espalier::tokenizer
