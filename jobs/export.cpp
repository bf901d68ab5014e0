// export: M.h5 -> a Hugging Face folder, tensor by tensor, every rank its own rows.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "io/publish.hpp"
#include "io/safetensors_writer.hpp"
#include "io/system_error.hpp"
#include "io/temporary.hpp"
#include "jobs/files/foreign_model.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/files/tokenizer_files.hpp"
#include "jobs/job.hpp"
#include "jobs/session/output_lock.hpp"
#include "jobs/session/progress.hpp"
#include "kernels/elementwise.hpp"
#include "src/core/error.hpp"
#include "src/core/parse_number.hpp"
#include "src/model/hugging_face.hpp"
#include "src/model/loadable.hpp"

namespace espalier::jobs {
namespace {

namespace fs = std::filesystem;

/// "5GB", "50KB", "123": decimal units, as Hugging Face's max_shard_size.
int64_t parse_bytes(const std::string& text, const char* option) {
    const size_t digits = std::min(text.find_first_of("BKMG"), text.size());
    const auto value = parse_number(text.substr(0, digits));
    const std::string unit = text.substr(digits);
    double scale = -1;
    for (const auto& [name, factor] : {std::pair{"", 1.0},
                                       {"B", 1.0},
                                       {"KB", 1e3},
                                       {"MB", 1e6},
                                       {"GB", 1e9},
                                       {"KiB", 1024.0},
                                       {"MiB", 1048576.0},
                                       {"GiB", 1073741824.0}}) {
        if (unit == name) scale = factor;
    }
    ESPALIER_REQUIRE(value && scale > 0 && *value * scale >= 1 && *value * scale < 1e18,
                     "{} {}: expected a size such as 5GB or 500MB", option, text);
    return static_cast<int64_t>(*value * scale);
}

/// --force replaces an earlier export, and nothing else that may lie in a folder.
void check_replaced(const std::string& folder) {
    if (!fs::exists(fs::symlink_status(folder))) return;
    ESPALIER_REQUIRE(!fs::is_symlink(folder), "{}: is a symbolic link; choose another --out", folder);
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        const bool ours = name == "config.json" || name == "model.safetensors.index.json" ||
                          (name.starts_with("model") && name.ends_with(".safetensors")) ||
                          is_side_file(name) || (name.ends_with(".json") && is_summary(entry.path()));
        ESPALIER_REQUIRE(ours && entry.is_regular_file(),
                         "{}: holds {}, which is not part of an exported model; choose another --out, or "
                         "remove the folder",
                         folder, name);
    }
}

/// What the model was imported from looks like an export, and may be the only copy.
void check_source(const ModelFile& file, const std::string& folder) {
    const auto provenance = file.provenance();
    const auto source = provenance.find("source");
    if (source == provenance.end() || !source->is_object()) return;
    std::error_code unknown;
    ESPALIER_REQUIRE(!fs::equivalent(source->value("path", std::string()), folder, unknown),
                     "{}: is what {} was imported from, which --force does not replace; choose another --out",
                     folder, file.path());
}

/// Whoever stands in a folder would be left in one without a name.
void check_elsewhere(const std::string& folder) {
    std::error_code unknown;
    ESPALIER_REQUIRE(!fs::equivalent(folder, fs::current_path(), unknown),
                     "--out {}: the folder that you are in, which cannot be replaced; name another", folder);
}

/// A folder beside the final one, gone again unless it is published; made by rank 0, known to all.
class PartialFolder {
public:
    PartialFolder(std::string target, bool creates)
        : target_(std::move(target)), path_(target_ + ".partial") {
        if (!creates) return;
        folder_.emplace(path_, io::Inside::goes);
        std::error_code error;
        fs::remove_all(path(), error);  // what a killed job left
        fs::create_directory(path(), error);
        if (error) io::fail_of_system("cannot make the folder " + path(), error.value());
    }

    const std::string& path() const { return path_; }
    /// Collective: every rank has finished writing, and rank 0 gives the folder its name.
    void publish(const comm::Communicator& world, io::Existing existing) {
        world.barrier();
        if (folder_) {
            if (existing == io::Existing::replace) {
                check_replaced(target_);  // files may have come since the start
                folder_->publish_over(target_);
            } else {
                folder_->publish_as(target_);
            }
        }
        world.barrier();
    }

private:
    std::string target_, path_;
    std::optional<io::Temporary> folder_;  // of rank 0
};

struct Exported {
    model::Parameter parameter;
    DType stored;
    io::SafetensorsTensor foreign;
    float factor, added;  // the file's values are factor * ours + added
};

std::vector<Exported> exported_tensors(const ModelFile& file, std::optional<DType> as) {
    std::vector<Exported> out;
    for (const auto& p : model::parameters(file.architecture())) {
        auto foreign = model::hugging_face_tensor(file.architecture(), p);
        const DType stored = file.stored_dtype(p);
        out.push_back({p,
                       stored,
                       {std::move(foreign.name), std::move(foreign.shape), as.value_or(stored)},
                       static_cast<float>(foreign.factor),
                       static_cast<float>(foreign.added)});
    }
    return out;
}

io::SafetensorsLayout layout_of(const std::vector<Exported>& tensors, int64_t shard_bytes) {
    std::vector<io::SafetensorsTensor> foreign;
    foreign.reserve(tensors.size());
    for (const auto& t : tensors) foreign.push_back(t.foreign);
    return {foreign, shard_bytes};
}

nlohmann::ordered_json config_of(const model::Architecture& a, const std::vector<Exported>& tensors) {
    const bool all_bf16 = std::all_of(tensors.begin(), tensors.end(),
                                      [](const Exported& t) { return t.foreign.dtype == DType::bf16; });
    return model::to_hugging_face(a, all_bf16 ? "bfloat16" : "float32");
}

/// Rank 0 makes the files, then all open them.
std::unique_ptr<io::SafetensorsWriter> open_writer(const Session& session, const std::string& folder,
                                                   const io::SafetensorsLayout& layout) {
    std::unique_ptr<io::SafetensorsWriter> out;
    if (session.root()) out = std::make_unique<io::SafetensorsWriter>(folder, layout, io::FileRole::create);
    session.world().barrier();
    if (!session.root()) out = std::make_unique<io::SafetensorsWriter>(folder, layout, io::FileRole::join);
    return out;
}

/// In f32, as the file is to have it.
Tensor rescaled(Context& ctx, const Tensor& block, const Exported& t) {
    Tensor out = ctx.empty(block.shape(), DType::f32);
    convert(ctx, block, out);
    for (float& v : out.span<float>()) v = t.factor * v + t.added;
    return out;
}

/// This rank's rows.
void write_tensor(Session& session, ModelFile& file, const Exported& t, size_t index,
                  io::SafetensorsWriter& writer) {
    Context& ctx = session.context();
    const auto& p = t.parameter;
    const int64_t rows_each = t.foreign.shape[0] / p.shape[0];
    const Range mine = comm::my_rows(session.world(), p.shape[0]);
    for_each_row_block(p.shape, mine, row_elements(p.shape) * 4, [&](const Box& box) {
        Tensor block = ctx.empty(box.count, t.stored);
        file.reader().read(dataset(p), box, block, box);
        if (t.factor != 1) block = rescaled(ctx, block, t);
        if (block.dtype() != t.foreign.dtype) {
            Tensor converted = ctx.empty(box.count, t.foreign.dtype);
            convert(ctx, block, converted);
            block = converted;
        }
        writer.write_rows(index, box.offset[0] * rows_each, {block.raw(), block.bytes()});
    });
}

/// Returns the bytes that all ranks read and wrote.
double write_tensors(Session& session, ModelFile& file, const std::vector<Exported>& tensors,
                     const io::SafetensorsLayout& layout, const std::string& folder) {
    const auto writer = open_writer(session, folder, layout);
    Progress progress(session, "export", static_cast<double>(model::parameter_count(file.architecture())),
                      "weights");
    double done = 0, bytes = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
        const auto& t = tensors[i];
        write_tensor(session, file, t, i, *writer);
        const auto size = static_cast<double>(t.parameter.size());
        done += size;
        bytes += size * static_cast<double>(size_of(t.stored) + size_of(t.foreign.dtype));
        progress.show(done, t.parameter.name);
    }
    file.reader().verify();
    writer->finish();
    layout.expect_written(session.world().all_reduce(writer->bytes_written(), comm::Reduction::sum));
    return bytes;
}

/// Configuration and tokenizer; returns the names of all files of the folder.
std::vector<std::string> write_side_files(const Session& session, const ModelFile& file,
                                          const io::SafetensorsLayout& layout,
                                          const nlohmann::ordered_json& config, const std::string& folder) {
    std::vector<std::string> files;
    for (const auto& shard : layout.shards()) files.push_back(shard.name);
    if (!layout.index().empty()) files.emplace_back("model.safetensors.index.json");
    const auto add = [&](const std::string& name, const std::string& content) {
        if (session.root()) io::write_file(folder + "/" + name, content);
        files.push_back(name);
    };
    add("config.json", config.dump(2) + "\n");
    for (const auto& name : file.reader().byte_names())
        add(name.substr(name.find('/') + 1), file.reader().read_bytes(name));
    return files;
}

/// A folder without a tokenizer must not look like one that has it.
void tell_tokenizer(Session& session, const ModelFile& file, const std::string& out) {
    const auto& names = file.reader().byte_names();
    const bool carried = carries_tokenizer(file.reader()) ||
                         std::find(names.begin(), names.end(), "tokenizer/vocab.json") != names.end();
    session.results["tokenizer"] = carried;
    if (carried || !session.root()) return;
    session.log().warning(
        "{}: the model carries no tokenizer, and so {} has none; copy the model's tokenizer files into the "
        "folder, or import the model again with --tokenizer DIR",
        file.path(), out);
}

/// Whoever knows the model as a Llama is not to wonder at its config.json.
void tell_family(const Session& session, const model::Architecture& a, const std::string& out) {
    if (model::loadable_family(a) == a.family) return;
    const std::string what =
        a.windowed_layers() > 0
            ? "a sliding window"
            : fmt::format("a hidden size ({}) that is no multiple of its query heads ({})", a.hidden,
                          a.layers.front().query_heads);
    session.log().info(
        "{}: a MistralForCausalLM, which is the same maths; transformers loads no Llama with {}", out, what);
}

}  // namespace

int export_model(const std::vector<std::string>& arguments, comm::Mpi&) {
    std::string path, out, shard_size = "5GB", store_dtype;
    const auto declare = [&](Options& options) {
        options.required("model", path, "M.h5");
        options.required("out", out, "folder to write");
        options.add("shard-size", shard_size, "most bytes of a safetensors file: 5GB, 500MB");
        options.add("store-dtype", store_dtype, "f32 or bf16 (default: as the model is stored)");
    };
    return run_job("export", arguments, declare, [&](Session& session, const Options&) {
        const int64_t shard_bytes = parse_bytes(shard_size, "--shard-size");
        const auto as = parse_store_dtype(store_dtype);
        check_elsewhere(out);
        const OutputLock lock(session, out);
        if (session.root()) io::put_back_replaced(io::without_slash(out));
        session.world().barrier();
        io::check_output(out, session.common().existing(), io::Output::folder);
        check_replaced(out);
        ModelFile file(path, session.world().handle());
        check_source(file, out);
        const auto& a = file.architecture();

        const auto tensors = exported_tensors(file, as);
        const auto config = config_of(a, tensors);
        const auto layout = layout_of(tensors, shard_bytes);
        PartialFolder folder(io::without_slash(out), session.root());

        const double begin = session.seconds();
        const double bytes = write_tensors(session, file, tensors, layout, folder.path());
        const auto files = write_side_files(session, file, layout, config, folder.path());
        folder.publish(session.world(), session.common().existing());

        session.results["parameters"] = model::parameter_count(a);
        session.results["files"] = files;
        session.results["bytes_per_second"] = bytes / (session.seconds() - begin);
        session.log().result("{}: {} parameters in {} files", out, model::parameter_count(a), files.size());
        tell_family(session, a, out);
        tell_tokenizer(session, file, out);
        return exit_code::done;
    });
}

}  // namespace espalier::jobs
