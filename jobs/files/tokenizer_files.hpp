// Tokenizers, wherever they are kept.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/gguf.hpp"
#include "io/tensor_file.hpp"
#include "src/core/log.hpp"
#include "src/tokenizer/gguf_vocabulary.hpp"
#include "src/tokenizer/tokenizer.hpp"

namespace espalier::jobs {

class ModelFile;

/// The vocabulary of a GGUF file, of whatever kind. Throws UserError where it names none or a key holds
/// something else than its name says.
tokenizer::GgufVocabulary gguf_vocabulary(const io::GgufFile& file);

/// Whether a model file has a tokenizer inside.
bool carries_tokenizer(const io::TensorFileReader& model);

/// Collective. A hash of which token of text each id is, by the tokenizer inside a model: the same where ids
/// mean the same, whatever special tokens are called. Empty where it has none, or none that jobs can use.
std::string text_ids_hash(const ModelFile& model);

/// Ids that end a text: the architecture's, then those of a generation_config.json in the file, by which
/// transformers stops.
std::vector<int64_t> ends_of_text(const ModelFile& model);

/// What becomes of the tokenizer among a model's files.
struct TokenizerFinding {
    std::string
        trouble;  ///< why no job can read text with it: missing, not supported, damaged; empty where they can
    std::string note;  ///< what users should know of the file that is used; mostly empty
};
TokenizerFinding examine_tokenizer(const std::map<std::string, std::string>& files);  ///< name -> content

/// A tokenizer.json, a SentencePiece .model, a .gguf, an M.h5 with its tokenizer inside, or a folder that
/// holds one of the first two. Throws UserError for anything else. Tells `log` where tokenizer.model has to
/// stand in for the tokenizer.json beside it.
tokenizer::Tokenizer open_tokenizer(const std::string& path, const Log& log);

}  // namespace espalier::jobs
