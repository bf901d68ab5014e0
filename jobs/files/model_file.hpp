// M.h5: a model's weights as named tensors, its architecture and its history as attributes.
#pragma once

#include <memory>

#include "io/tensor_file.hpp"
#include "jobs/session/session.hpp"
#include "src/model/architecture_json.hpp"
#include "src/model/transformer.hpp"

namespace espalier::jobs {

constexpr const char* model_format = "espalier-model";
constexpr int64_t model_format_version = 1;

/// Dataset of a parameter.
inline std::string dataset(const model::Parameter& p) {
    return "parameters/" + p.name;
}

/// A model on disk, open for reading. Throws UserError when a parameter is missing, misshapen or surplus.
class ModelFile {
public:
    ModelFile(const std::string& path, MPI_Comm comm);

    const model::Architecture& architecture() const { return architecture_; }
    nlohmann::ordered_json provenance() const;
    std::string sha256() const { return reader_.content_sha256(); }
    const std::string& path() const { return reader_.path(); }
    DType stored_dtype(const model::Parameter& p) const { return reader_.find(dataset(p))->dtype; }
    io::TensorFileReader& reader() { return reader_; }
    const io::TensorFileReader& reader() const { return reader_; }

private:
    io::TensorFileReader reader_;
    model::Architecture architecture_;
};

/// Throws UserError where a sample is longer than the model's context; `source` is the model's file.
void check_seq_len(int64_t seq_len, const model::Architecture& a, const std::string& source);
void check_seq_len(int64_t seq_len, const ModelFile& model);

/// A model file in the making; tensors come in any order, publish() ends it.
class ModelWriter {
public:
    /// dtypes: one for each of parameters(a).
    ModelWriter(const std::string& path, MPI_Comm comm, const model::Architecture& a,
                const std::vector<DType>& dtypes, io::Existing existing);

    void write(const model::Parameter& p, const Box& box, const Tensor& data) {
        writer_.write(dataset(p), box, data);
    }
    io::TensorFileWriter& writer() { return writer_; }
    /// Copies /tokenizer/<file> over from another model.
    void copy_tokenizer(const ModelFile& from);
    void tokenizer_file(const std::string& name, const std::string& content) {
        writer_.write_bytes("tokenizer/" + name, content);
    }
    /// Collective; returns the content's SHA-256.
    std::string publish(const nlohmann::ordered_json& provenance);

private:
    io::TensorFileWriter writer_;
};

/// A step of a model's history: which job made it, from what, with which options.
nlohmann::ordered_json history_step(const Session& session);
/// The history of `from` with this job's step added.
nlohmann::ordered_json extend_history(const ModelFile& from, const Session& session);

/// Collective. A transformer in the session's compute dtype, each rank with its part of the file's weights,
/// checked against the checksums.
std::unique_ptr<model::Transformer> load_transformer(Session& session, ModelFile& file,
                                                     model::Gradients gradients, int virtual_stages = 1);

/// What a rank holds of a model, and whether it answers for its part towards the checksums: over all ranks
/// each weight is answered for once.
struct ModelPart {
    model::Transformer* model;
    bool counts;
};
/// Collective. Reads the weights of all parts, converting to their dtype, and verifies them. What goes wrong
/// on one rank is thrown on every rank.
void read_parameters(ModelFile& file, const std::vector<ModelPart>& parts, Context& ctx);

/// A replica's share of what belongs to a set of weights: the values of `elements` of its flat buffer, f32.
struct FlatShare {
    Tensor values;
    Range elements;  ///< cuts no row of a weight
};
/// Collective. Reads this share of each parameter, and verifies what all ranks read; throws on every
/// rank what goes wrong on one.
void read_share(Context& ctx, io::TensorFileReader& reader, const std::string& prefix,
                const model::ParameterSet& set, const FlatShare& share);
/// Rows of a share as a file has them: `values` belong at `box` of a dataset.
struct SharePiece {
    const model::Parameter* parameter;  ///< the set's
    Box box;
    Tensor values;
};
/// What this rank answers for of its share, in the set's order and in pieces of at most `bytes`, but at least
/// a row.
std::vector<SharePiece> pieces_of(const model::ParameterSet& set, const FlatShare& share, int64_t bytes);
/// Writes them, in the datasets' dtype: f32 where dtype_of is empty.
void write_share(Context& ctx, io::TensorFileWriter& writer, const std::string& prefix,
                 const model::ParameterSet& set, const FlatShare& share,
                 const std::function<DType(const model::Parameter&)>& dtype_of = {});

/// What datasets of one set of tensors look like.
std::vector<io::TensorSpec> parameter_specs(const std::vector<model::Parameter>& parameters,
                                            const std::string& prefix,
                                            const std::function<DType(const model::Parameter&)>& dtype_of);

}  // namespace espalier::jobs
