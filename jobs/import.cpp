// import: a checkpoint of somebody else's -> M.h5, tensor by tensor, every rank its own rows.
#include <cstring>
#include <filesystem>

#include "io/publish.hpp"
#include "jobs/files/foreign_model.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/job.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/progress.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

using model::Parameter;

/// Where a tensor is and how it is brought into our order.
struct Origin {
    size_t index;
    model::ForeignTensor foreign;
    int64_t rows_each;     ///< foreign rows of one index of our first axis
    int64_t row_elements;  ///< of a foreign row
    DType dtype;           ///< of what read_rows gives
};

std::vector<Origin> locate(const ForeignModel& source, const std::vector<Parameter>& parameters) {
    std::vector<Origin> out;
    for (const auto& p : parameters) {
        auto foreign = source.tensor_of(p);
        const int64_t index = io::find(*source.weights, foreign.name);
        ESPALIER_REQUIRE(index >= 0, "{}: the tensor {} is missing", source.path, foreign.name);
        const auto& info = source.weights->tensors()[index];
        ESPALIER_REQUIRE(info.shape == foreign.shape, "{}: {} has shape {}, its configuration makes it {}",
                         source.path, foreign.name, to_string(info.shape), to_string(foreign.shape));
        // No row is asked for: it throws what reading would, naming tensor, type and the way out.
        if (!info.readable) source.weights->read_rows(static_cast<size_t>(index), 0, 0, {});
        const int64_t row = row_elements(foreign.shape), rows_each = p.size() / p.shape[0] / row;
        out.push_back({static_cast<size_t>(index), std::move(foreign), rows_each, row, info.dtype});
    }
    return out;
}

/// Every tensor must have a place, so that nothing of a model is lost unseen.
void refuse_surplus(const ForeignModel& source, const std::vector<Origin>& origins) {
    const auto& tensors = source.weights->tensors();
    std::vector<bool> used(tensors.size(), false);
    for (const auto& o : origins) used[o.index] = true;
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (used[i] || model::is_ignored_tensor(tensors[i].name)) continue;
        if (source.architecture.tied && tensors[i].name == "lm_head.weight") {
            require_equal(*source.weights, i, origins.front().index, source.path);
            continue;
        }
        fail("{}: surplus tensor {}, which no {} model of this configuration has", source.path,
             tensors[i].name, model::to_string(source.architecture.family));
    }
}

/// These rows of our first axis, in our order, with our values, in `stored`.
Tensor read_block(Context& ctx, const ForeignModel& source, const Origin& o, const Box& box, DType stored) {
    const int64_t first = box.offset[0], foreign_rows = box.count[0] * o.rows_each;
    Tensor read = ctx.empty({foreign_rows, o.row_elements}, o.dtype);
    source.weights->read_rows(o.index, o.foreign.first_row + first * o.rows_each, foreign_rows,
                              {read.raw(), read.bytes()});
    if (o.foreign.interleaved_dim > 0) {
        Tensor ordered = ctx.empty(read.shape(), o.dtype);
        const size_t bytes = static_cast<size_t>(o.row_elements) * size_of(o.dtype);
        for (int64_t r = 0; r < foreign_rows; ++r) {
            const auto from = static_cast<size_t>(model::foreign_row(o.foreign, r));
            std::memcpy(ordered.raw() + static_cast<size_t>(r) * bytes, read.raw() + from * bytes, bytes);
        }
        read = ordered;
    }
    if (o.foreign.added != 0) {
        ESPALIER_REQUIRE(o.dtype == DType::f32, "{}: {} is stored as {}; norm weights are expected in f32",
                         source.path, o.foreign.name, to_string(o.dtype));
        for (float& v : read.span<float>()) v -= static_cast<float>(o.foreign.added);
    }
    if (stored == o.dtype) return read.view(box.count);
    Tensor out = ctx.empty(box.count, stored);
    convert(ctx, read.view(box.count), out);
    return out;
}

/// This rank's rows of every tensor; returns the bytes that all ranks read and wrote.
double copy_tensors(Session& session, const ForeignModel& source, const std::vector<Parameter>& parameters,
                    const std::vector<Origin>& origins, const std::vector<DType>& dtypes,
                    ModelWriter& writer) {
    Progress progress(session, "import", static_cast<double>(model::parameter_count(source.architecture)),
                      "weights");
    double done = 0, bytes = 0;
    for (size_t i = 0; i < parameters.size(); ++i) {
        const auto& p = parameters[i];
        const Range mine = comm::my_rows(session.world(), p.shape[0]);
        for_each_row_block(p.shape, mine, row_elements(p.shape) * 4, [&](const Box& box) {
            writer.write(p, box, read_block(session.context(), source, origins[i], box, dtypes[i]));
        });
        const auto size = static_cast<double>(p.size());
        done += size;
        bytes += size * static_cast<double>(size_of(origins[i].dtype) + size_of(dtypes[i]));
        progress.show(done, p.name);
    }
    return bytes;
}

/// Weights without a tokenizer are of use; that it is missing must not go unseen.
void tell_tokenizer(Session& session, const ForeignModel& source, const std::string& out) {
    if (!session.root()) return;
    const auto [trouble, note] = examine_tokenizer(source);
    session.results["tokenizer"] = trouble.empty();
    if (!note.empty()) session.log().info("{}: {}", source.path, note);
    if (trouble.empty()) return;
    session.log().warning(
        "{}: no tokenizer that can be used: {}\n  {} holds the weights, and no job can read text with it "
        "alone; give import --tokenizer DIR, a folder with the model's tokenizer.json or tokenizer.model, or "
        "tokenize and generate --tokenizer PATH",
        source.path, trouble, out);
    session.results["tokenizer_trouble"] = trouble;
}

}  // namespace

int import_model(const std::vector<std::string>& arguments, comm::Mpi&) {
    std::string from, out, store_dtype, tokenizer;
    const auto declare = [&](Options& options) {
        options.required("from", from, "a Hugging Face folder, or a .safetensors, .gguf or .bin file");
        options.required("out", out, "M.h5");
        options.add("store-dtype", store_dtype,
                    "f32 or bf16 (default: as the source has it; f16 and quantised become f32)");
        options.add("tokenizer", tokenizer,
                    "a folder whose tokenizer files are taken in place of the source's own");
    };
    return run_job("import", arguments, declare, [&](Session& session, const Options&) {
        const OutputLock lock(session, out);
        io::check_output(out, session.common().existing());
        const auto stored = parse_store_dtype(store_dtype);
        ForeignModel source = open_foreign_model(from);
        if (!tokenizer.empty()) take_tokenizer(source, tokenizer);
        const auto parameters = model::parameters(source.architecture);
        const auto origins = locate(source, parameters);
        refuse_surplus(source, origins);
        const std::string sha256 = source_sha256(session, source);

        std::vector<DType> dtypes;
        dtypes.reserve(origins.size());
        for (const auto& o : origins) dtypes.push_back(stored.value_or(o.dtype));
        ModelWriter writer(out, session.world().handle(), source.architecture, dtypes,
                           session.common().existing());
        const double begin = session.seconds();
        const double bytes = copy_tensors(session, source, parameters, origins, dtypes, writer);
        for (const auto& [name, content] : source.tokenizer_files) writer.tokenizer_file(name, content);
        writer.publish({{"source", {{"path", std::filesystem::absolute(from).string()}, {"sha256", sha256}}},
                        {"jobs", {history_step(session)}}});

        session.results["parameters"] = model::parameter_count(source.architecture);
        session.results["architecture"] = model::to_json(source.architecture);
        session.results["sha256"] = sha256;
        session.results["bytes_per_second"] = bytes / (session.seconds() - begin);
        session.log().result("{}: {} parameters", out, model::parameter_count(source.architecture));
        tell_tokenizer(session, source, out);
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
