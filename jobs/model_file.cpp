#include "jobs/model_file.hpp"

#include <algorithm>
#include <ctime>
#include <set>

#include "io/collective.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {

using model::Parameter;
using nlohmann::json;
using nlohmann::ordered_json;

namespace {

json parse_attribute(const io::TensorFileReader& reader, const char* name) {
    const json value = json::parse(reader.text(name), nullptr, false);
    ESPALIER_REQUIRE(!value.is_discarded(), "{}: the attribute \"{}\" is not JSON", reader.path(), name);
    return value;
}

}  // namespace

ModelFile::ModelFile(const std::string& path, MPI_Comm comm)
    : reader_(path, comm, model_format),
      architecture_(model::architecture_from_json(parse_attribute(reader_, "architecture"), path)) {
    const auto version = static_cast<int64_t>(reader_.number("format_version"));
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
}

ordered_json ModelFile::provenance() const {
    const auto value = ordered_json::parse(reader_.text("provenance"), nullptr, false);
    ESPALIER_REQUIRE(!value.is_discarded(), "{}: the attribute \"provenance\" is not JSON", path());
    return value;
}

std::vector<io::TensorSpec> parameter_specs(const model::Architecture& a, const std::string& prefix,
                                            const std::function<DType(const Parameter&)>& dtype_of) {
    std::vector<io::TensorSpec> specs;
    for (const auto& p : model::parameters(a))
        specs.push_back({prefix + p.name, p.shape, dtype_of(p), p.axis_names()});
    return specs;
}

namespace {

std::vector<io::TensorSpec> model_specs(const model::Architecture& a, const std::vector<DType>& dtypes) {
    size_t next = 0;
    return parameter_specs(a, "parameters/", [&](const Parameter&) { return dtypes.at(next++); });
}

}  // namespace

ModelWriter::ModelWriter(const std::string& path, MPI_Comm comm, const model::Architecture& a,
                         const std::vector<DType>& dtypes, bool replace)
    : writer_(path, comm, model_specs(a, dtypes), replace) {
    writer_.attribute("format", model_format);
    writer_.attribute("format_version", model_format_version);
    writer_.attribute("architecture", model::to_json(a).dump());
}

void ModelWriter::write_all(Session& session, const model::ParameterSet& set, const Tensor& flat,
                            const std::function<DType(const Parameter&)>& dtype_of) {
    write_parameters(session, writer_, "parameters/", set, flat, dtype_of);
}

void ModelWriter::copy_tokenizer(const ModelFile& from) {
    for (const auto& name : from.reader().byte_names())
        writer_.write_bytes(name, from.reader().read_bytes(name));
}

std::string ModelWriter::publish(const ordered_json& provenance) {
    writer_.attribute("provenance", provenance.dump());
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

void read_parameters(Session& session, io::TensorFileReader& reader, const std::string& prefix,
                     const model::ParameterSet& set, Tensor& flat) {
    Context& ctx = session.context();
    const bool counts =
        session.topology().data.rank() == 0;  // replicas read the same; one of them answers for it
    io::on_all(session.world().handle(), [&] {
        for (const auto& e : set.entries()) {
            const std::string name = prefix + e.parameter.name;
            const auto* spec = reader.find(name);
            ESPALIER_REQUIRE(spec, "{}: the tensor {} is missing", reader.path(), name);
            Tensor target = model::ParameterSet::view(flat, &e);
            Tensor read = spec->dtype == flat.dtype() ? target : ctx.empty(e.local.count, spec->dtype);
            reader.read(name, e.local, read, counts && e.owned.size() > 0 ? e.owned : Box{});
            if (spec->dtype != flat.dtype()) convert(ctx, read, target);
        }
    });
    reader.verify();
}

void write_parameters(Session& session, io::TensorFileWriter& writer, const std::string& prefix,
                      const model::ParameterSet& set, const Tensor& flat,
                      const std::function<DType(const Parameter&)>& dtype_of) {
    if (session.topology().data.rank() != 0) return;
    Context& ctx = session.context();
    for (const auto& e : set.entries()) {
        if (e.owned.size() == 0) continue;
        // What a rank owns are rows of what it holds.
        const Tensor held =
            model::ParameterSet::view(flat, &e).rows(e.owned.offset[0] - e.local.offset[0], e.owned.count[0]);
        Tensor data = held;
        if (dtype_of(e.parameter) != flat.dtype()) {
            data = ctx.empty(held.shape(), dtype_of(e.parameter));
            convert(ctx, held, data);
        }
        writer.write(prefix + e.parameter.name, e.owned, data);
    }
}

std::unique_ptr<model::Transformer> load_transformer(Session& session, ModelFile& file,
                                                     model::Gradients gradients) {
    const auto& layout = session.topology().layout;
    model::check_layout(file.architecture(), layout.tp, layout.pp, file.path());
    auto out = std::make_unique<model::Transformer>(session.context(), file.architecture(),
                                                    session.topology(), session.dtype(), gradients);
    read_parameters(session, file.reader(), "parameters/", out->parameters(), out->parameters().flat());
    return out;
}

}  // namespace espalier::jobs
