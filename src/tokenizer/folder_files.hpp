// The files of a Hugging Face folder that say how a tokenizer.model is to be used.
#pragma once

#include "src/tokenizer/definition.hpp"

namespace espalier::tokenizer {

/// Contents by the files' names; empty where the folder has none.
struct FolderFiles {
    std::string tokenizer_config, special_tokens_map, added_tokens;
};

/// Adds to what the model says: added tokens, special ones by name, what stands around a text, whether a
/// space stands before it. As transformers reads them (PreTrainedTokenizerBase._from_pretrained), but for a
/// token without an id, which stays unknown rather than to get one behind the vocabulary.
void apply_folder(const FolderFiles& files, Definition& definition);

}  // namespace espalier::tokenizer
