#include "jobs/files/model_file.hpp"

#include <algorithm>
#include <ctime>
#include <limits>
#include <set>

#include "io/collective.hpp"
#include "jobs/files/foreign_model.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {

using model::Parameter;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

json parse_attribute(const io::TensorFileReader& reader, const char* name) {
    json value = json::parse(reader.text(name), nullptr, false);
    ESPALIER_REQUIRE(!value.is_discarded(), "{}: the attribute \"{}\" is not JSON", reader.path(), name);
    return value;
}

}  // namespace

ModelFile::ModelFile(const std::string& path, MPI_Comm comm)
    : reader_(path, comm, model_format),
      architecture_(model::architecture_from_json(parse_attribute(reader_, "architecture"), path)) {
    const auto version = reader_.integer("format_version");
    ESPALIER_REQUIRE(version == model_format_version, "{}: format_version {}, this program reads {}", path,
                     version, model_format_version);
    std::set<std::string> expected;
    for (const auto& p : model::parameters(architecture_)) {
        expected.insert(dataset(p));
        const auto* spec = reader_.find(dataset(p));
        ESPALIER_REQUIRE(spec, "{}: the tensor {} is missing", path, dataset(p));
        ESPALIER_REQUIRE(spec->shape == p.shape, "{}: {} has shape {}, its architecture makes it {}", path,
                         dataset(p), to_string(spec->shape), to_string(p.shape));
        ESPALIER_REQUIRE(spec->dtype == DType::f32 || spec->dtype == DType::bf16,
                         "{}: {} is {}, expected f32 or bf16", path, dataset(p), to_string(spec->dtype));
    }
    for (const auto& spec : reader_.tensors()) {
        ESPALIER_REQUIRE(expected.count(spec.name), "{}: surplus tensor {}, which no {} model has", path,
                         spec.name, model::to_string(architecture_.family));
    }
    // They become files of an export.
    for (const auto& name : reader_.byte_names()) {
        constexpr std::string_view folder = "tokenizer/";
        ESPALIER_REQUIRE(name.starts_with(folder) && is_side_file(name.substr(folder.size())),
                         "{}: carries {}, which is no file of a tokenizer", path, name);
    }
}

void check_seq_len(int64_t seq_len, const model::Architecture& a, const std::string& source) {
    ESPALIER_REQUIRE(seq_len <= a.max_positions, "--seq-len {}: {} has {} positions; choose --seq-len <= {}",
                     seq_len, source, a.max_positions, a.max_positions);
}

void check_seq_len(int64_t seq_len, const ModelFile& model) {
    check_seq_len(seq_len, model.architecture(), model.path());
}

ordered_json ModelFile::provenance() const {
    auto value = ordered_json::parse(reader_.text("provenance"), nullptr, false);
    ESPALIER_REQUIRE(!value.is_discarded(), "{}: the attribute \"provenance\" is not JSON", path());
    return value;
}

std::vector<io::TensorSpec> parameter_specs(const std::vector<Parameter>& parameters,
                                            const std::string& prefix,
                                            const std::function<DType(const Parameter&)>& dtype_of) {
    std::vector<io::TensorSpec> specs;
    for (const auto& p : parameters) specs.push_back({prefix + p.name, p.shape, dtype_of(p), p.axis_names()});
    return specs;
}

namespace {

std::vector<io::TensorSpec> model_specs(const model::Architecture& a, const std::vector<DType>& dtypes) {
    size_t next = 0;
    return parameter_specs(model::parameters(a), "parameters/",
                           [&](const Parameter&) { return dtypes.at(next++); });
}

}  // namespace

ModelWriter::ModelWriter(const std::string& path, MPI_Comm comm, const model::Architecture& a,
                         const std::vector<DType>& dtypes, io::Existing existing)
    : writer_(path, comm, model_specs(a, dtypes), existing) {
    writer_.attribute("format", model_format);
    writer_.attribute("format_version", model_format_version);
    writer_.attribute("architecture", model::to_json(a).dump());
}

void ModelWriter::copy_tokenizer(const ModelFile& from) {
    for (const auto& name : from.reader().byte_names())
        writer_.write_bytes(name, from.reader().read_bytes(name));
}

std::string ModelWriter::publish(const ordered_json& provenance) {
    // A source's path may be of any bytes.
    writer_.attribute("provenance", provenance.dump(-1, ' ', false, ordered_json::error_handler_t::replace));
    return writer_.publish();
}

ordered_json history_step(const Session& session) {
    char when[32];
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    gmtime_r(&now, &utc);
    std::strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return {{"job", session.job()},
            {"version", ESPALIER_VERSION},
            {"time", when},
            {"options", session.options()}};
}

ordered_json extend_history(const ModelFile& from, const Session& session) {
    ordered_json out = from.provenance();
    ordered_json step = history_step(session);
    step["input_sha256"] = from.sha256();
    out["jobs"].push_back(std::move(step));
    return out;
}

namespace {

/// Rows of a weight's local part, as a box of the whole weight.
Box box_of(const model::Entry& e, Range rows) {
    Box box = e.local;
    box.offset[0] += rows.begin;
    box.count[0] = rows.size();
    return box;
}

/// Of these rows those that this rank answers for; nothing where it answers for none.
Box counted_box(const model::Entry& e, Range rows) {
    const Box box = box_of(e, intersection(e.owned_rows(), rows));
    return e.owned.size() > 0 && box.size() > 0 ? box : Box{};
}

/// Values of a weight's rows in a share.
Tensor values_of(const model::Entry& e, Range rows, const FlatShare& share) {
    return share.values.slice(e.offset + rows.begin * e.row_size() - share.elements.begin,
                              box_of(e, rows).count);
}

}  // namespace

void read_parameters(ModelFile& file, const std::vector<ModelPart>& parts, Context& ctx) {
    io::on_all(file.reader().comm(), [&] {
        for (const auto& [model, counts] : parts) {
            Tensor& flat = model->parameters().flat();
            const FlatShare all{flat, {0, flat.size()}};
            for (const auto& e : model->parameters().entries()) {
                if (e.size() == 0) continue;
                const DType stored = file.stored_dtype(e.parameter);
                const bool in_place = stored == flat.dtype() && !ctx.on_gpu();
                const int64_t rows = e.local.count[0],
                              step = in_place ? rows : rows_in_block(e.row_size() * size_of(stored));
                for (int64_t first = 0; first < rows; first += step) {
                    const Range block{first, std::min(first + step, rows)};
                    const Box box = box_of(e, block);
                    Tensor target = values_of(e, block, all);
                    Tensor read = in_place ? target : ctx.empty_on_host(box.count, stored);
                    file.reader().read(dataset(e.parameter), box, read,
                                       counts ? counted_box(e, block) : Box{});
                    if (!in_place) convert(ctx, ctx.to_device(read), target);
                }
            }
        }
    });
    file.reader().verify();
}

void read_share(Context& ctx, io::TensorFileReader& reader, const std::string& prefix,
                const model::ParameterSet& set, const FlatShare& share) {
    io::on_all(reader.comm(), [&] {
        for (const auto& e : set.entries()) {
            const Range rows = e.rows_in(share.elements);
            if (rows.size() == 0 || e.size() == 0) continue;
            const std::string name = prefix + e.parameter.name;
            ESPALIER_REQUIRE(reader.find(name), "{}: the tensor {} is missing", reader.path(), name);
            Tensor values = values_of(e, rows, share);
            Tensor read = ctx.on_gpu() ? ctx.empty_on_host(values.shape(), values.dtype()) : values;
            reader.read(name, box_of(e, rows), read, counted_box(e, rows));
            if (ctx.on_gpu()) ctx.write(read, values);
        }
    });
    reader.verify();
}

std::vector<SharePiece> pieces_of(const model::ParameterSet& set, const FlatShare& share, int64_t bytes) {
    std::vector<SharePiece> pieces;
    for (const auto& e : set.entries()) {
        const Range rows = intersection(e.owned_rows(), e.rows_in(share.elements));
        if (rows.size() == 0 || e.owned.size() == 0) continue;
        const int64_t row_bytes = e.row_size() * static_cast<int64_t>(size_of(share.values.dtype()));
        const int64_t step = row_bytes > 0 ? std::max<int64_t>(1, bytes / row_bytes) : rows.size();
        for (int64_t begin = rows.begin; begin < rows.end; begin += step) {
            const Range piece{begin, std::min(begin + step, rows.end)};
            pieces.push_back({&e.parameter, box_of(e, piece), values_of(e, piece, share)});
        }
    }
    return pieces;
}

void write_share(Context& ctx, io::TensorFileWriter& writer, const std::string& prefix,
                 const model::ParameterSet& set, const FlatShare& share,
                 const std::function<DType(const Parameter&)>& dtype_of) {
    for (const auto& [parameter, box, values] : pieces_of(set, share, std::numeric_limits<int64_t>::max())) {
        Tensor stored = values;
        if (dtype_of && dtype_of(*parameter) != DType::f32) {
            stored = ctx.empty(values.shape(), dtype_of(*parameter));
            convert(ctx, values, stored);
        }
        writer.write(prefix + parameter->name, box, ctx.to_host(stored));
    }
}

std::unique_ptr<model::Transformer> load_transformer(Session& session, ModelFile& file,
                                                     model::Gradients gradients, int virtual_stages) {
    const auto& layout = session.topology().layout;
    model::check_layout(file.architecture(), layout.tp, layout.pp, virtual_stages, file.path());
    auto out =
        std::make_unique<model::Transformer>(session.context(), file.architecture(), session.topology(),
                                             session.dtype(), gradients, virtual_stages);
    // Replicas read the same; one of them answers for it.
    read_parameters(file, {{out.get(), session.topology().data.rank() == 0}}, session.context());
    return out;
}

}  // namespace espalier::jobs
