// A model as somebody else published it: weights, configuration, tokenizer files.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "io/tensor_source.hpp"
#include "jobs/files/tokenizer_files.hpp"
#include "jobs/session/session.hpp"
#include "src/model/foreign_tensor.hpp"

namespace espalier::jobs {

struct ForeignModel {
    std::string path;
    std::unique_ptr<io::TensorSource> weights;
    model::Architecture architecture;
    std::map<std::string, std::string> tokenizer_files;  ///< name -> content
    std::string gguf_tokenizer_trouble;                  ///< why a .gguf gave no tokenizer files
    bool gguf = false;

    /// Where one of our parameters stands in it.
    model::ForeignTensor tensor_of(const model::Parameter& p) const;
};

/// A Hugging Face folder, a .safetensors or .bin file with config.json beside it, or a .gguf. Throws
/// UserError.
ForeignModel open_foreign_model(const std::string& path);

/// The tokenizer files of a folder in place of the source's own. Throws UserError unless it holds
/// tokenizer.json or tokenizer.model.
void take_tokenizer(ForeignModel& model, const std::string& folder);

/// Of the model's tokenizer, which it parses.
TokenizerFinding examine_tokenizer(const ForeignModel& model);

/// Whether a file of this name belongs to a Hugging Face model, beside weights and config.json: a
/// tokenizer's, generation_config.json.
bool is_side_file(std::string_view name);

/// Collective. SHA-256 of the source's weights: of the file, or where there are several, of the lines
/// "<sha256>  <name>\n" of all of them, as sha256sum prints them.
std::string source_sha256(const Session& session, const ForeignModel& source);

/// Throws UserError unless two tensors hold the same values (a tied head that was written all the same).
void require_equal(const io::TensorSource& weights, size_t a, size_t b, const std::string& path);

/// "", "f32" or "bf16" of --store-dtype.
std::optional<DType> parse_store_dtype(const std::string& text);

}  // namespace espalier::jobs
