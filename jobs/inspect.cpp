// inspect: what a file is.
#include <cmath>
#include <filesystem>

#include "io/indexed_dataset.hpp"
#include "io/tensor_file.hpp"
#include "jobs/files/foreign_model.hpp"
#include "jobs/files/model_file.hpp"
#include "jobs/job.hpp"
#include "jobs/session/standard_output.hpp"
#include "src/core/error.hpp"

namespace espalier::jobs {
namespace {

using nlohmann::ordered_json;
namespace fs = std::filesystem;

ordered_json tensor_list(const std::vector<io::TensorSpec>& tensors) {
    ordered_json out = ordered_json::array();
    for (const auto& t : tensors) {
        ordered_json entry{{"name", t.name}, {"shape", t.shape}, {"dtype", to_string(t.dtype)}};
        if (!t.axes.empty()) entry["axes"] = t.axes;
        out.push_back(std::move(entry));
    }
    return out;
}

/// An integer, where a damaged file does not say otherwise.
ordered_json as_count(double number) {
    constexpr double exact = 0x1p53;
    if (std::abs(number) <= exact && number == std::trunc(number)) return static_cast<int64_t>(number);
    return number;
}

ordered_json inspect_own(const std::string& path, bool verify) {
    io::TensorFileReader reader(path, MPI_COMM_SELF, "");
    ordered_json out{
        {"path", path}, {"format", reader.text("format")}, {"content_sha256", reader.content_sha256()}};
    for (const char* json_attribute : {"architecture", "provenance", "configuration", "options"}) {
        if (reader.has_attribute(json_attribute))
            out[json_attribute] = ordered_json::parse(reader.text(json_attribute));
    }
    for (const char* count : {"format_version", "step", "samples", "seq_len", "depth_block"}) {
        if (reader.has_attribute(count)) out[count] = as_count(reader.number(count));
    }
    if (reader.has_attribute("loss")) out["loss"] = reader.number("loss");
    if (reader.has_attribute("model_sha256")) out["model_sha256"] = reader.text("model_sha256");
    if (out["format"] == model_format)
        out["parameters"] = model::parameter_count(model::architecture_from_json(out["architecture"], path));
    out["files"] = reader.byte_names();
    out["tensors"] = tensor_list(reader.tensors());
    if (verify) {
        reader.verify_all();
        out["verified"] = true;
    }
    return out;
}

ordered_json inspect_foreign(const std::string& path) {
    const ForeignModel model = open_foreign_model(path);
    ordered_json out{{"path", path},
                     {"format", model.gguf ? "gguf" : "hugging-face"},
                     {"architecture", model::to_json(model.architecture)},
                     {"parameters", model::parameter_count(model.architecture)}};
    out["files"] = ordered_json::array();
    for (const auto& [name, content] : model.tokenizer_files) out["files"].push_back(name);
    out["tensors"] = ordered_json::array();
    for (const auto& t : model.weights->tensors())
        out["tensors"].push_back({{"name", t.name}, {"shape", t.shape}, {"dtype", t.type}});
    return out;
}

ordered_json inspect_tokens(const std::string& prefix) {
    const io::IndexedDataset dataset(prefix);
    return {{"path", prefix},
            {"format", "megatron-tokens"},
            {"documents", dataset.count()},
            {"tokens", dataset.tokens()}};
}

/// In place of lists too long to read, such as the channels that a cut kept, how many they have; --json has
/// them.
ordered_json shortened(const ordered_json& value) {
    constexpr size_t longest = 64;
    if (value.is_array() && value.size() > longest) return fmt::format("{} values", value.size());
    if (!value.is_structured()) return value;
    ordered_json out = value;
    for (auto& inner : out) inner = shortened(inner);
    return out;
}

std::string line_of(const ordered_json& value) {
    return value.is_string() ? value.get<std::string>() : shortened(value).dump();
}

/// Lines a person reads: the scalars, then a line a tensor.
void print(const ordered_json& facts) {
    for (const auto& [key, value] : facts.items()) {
        if (key == "tensors") continue;
        if (value.is_object()) {
            print_out("{}:\n", key);
            for (const auto& [name, inner] : value.items()) print_out("  {:<22}{}\n", name, line_of(inner));
        } else {
            print_out("{:<24}{}\n", key, line_of(value));
        }
    }
    if (!facts.contains("tensors")) return;
    print_out("tensors:\n");
    for (const auto& t : facts["tensors"])
        print_out("  {:<40} {:<6} {}\n", t["name"].get<std::string>(), t["dtype"].get<std::string>(),
                  t["shape"].dump());
}

bool is_token_prefix(const std::string& path) {
    return fs::exists(path + ".idx") && fs::exists(path + ".bin");
}

}  // namespace

int inspect(const std::vector<std::string>& arguments, comm::Mpi&) {
    std::string path;
    bool json = false, verify = false;
    const auto declare = [&](Options& options) {
        options.required("path", path,
                         "PATH, with or without --path: M.h5, I.h5, a checkpoint, a Hugging Face folder, "
                         ".safetensors, .gguf, .bin, or a "
                         "PREFIX of token files");
        options.add("json", json, "as one JSON object");
        options.add("verify", verify,
                    "read everything and compare with the stored checksums (Espalier's own files)");
    };
    const auto body = [&](Session& session, const Options&) {
        if (!session.root()) return exit_code::done;
        const bool own = path.ends_with(".h5") || io::is_tensor_file(path);
        ESPALIER_REQUIRE(own || !verify, "{}: only Espalier's own files carry checksums to verify", path);
        const ordered_json facts = own                     ? inspect_own(path, verify)
                                   : is_token_prefix(path) ? inspect_tokens(path)
                                                           : inspect_foreign(path);
        session.results["facts"] = facts;
        if (json) {
            print_out("{}\n", facts.dump(1, ' ', false, nlohmann::json::error_handler_t::replace));
        } else {
            print(facts);
        }
        finish_printing();
        return exit_code::done;
    };
    return run_job("inspect", arguments, declare, body, {"path", "PATH"});
}

}  // namespace espalier::jobs
